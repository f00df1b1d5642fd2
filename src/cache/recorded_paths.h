// Paths as the catalog has them, from the source's root.  Remembers those of directories: for one
// walk over many records.  Not thread-safe.
#pragma once

#include <string>
#include <unordered_map>

#include "base/ids.h"
#include "catalog/catalog.h"

namespace larder::cache {

class RecordedPaths {
 public:
  explicit RecordedPaths(catalog::Catalog& catalog) : catalog_(catalog) {}

  std::string of(const catalog::NodeRecord& record) {
    const std::string directory = of_directory(record.parent, kDepthMax);
    return directory.empty() ? record.name : directory + "/" + record.name;
  }

 private:
  // Parents that a damaged catalog has in a circle.
  static constexpr int kDepthMax = 4096;

  std::string of_directory(NodeId node, int depth_left) {
    if (node == kRootNode || !node || depth_left == 0) return {};
    if (const auto known = known_.find(node); known != known_.end()) return known->second;
    const auto record = catalog_.node(node);
    std::string path;
    if (record && *record) {
      path = of_directory((**record).parent, depth_left - 1);
      path += (path.empty() ? "" : "/") + (**record).name;
    }
    return known_[node] = path;
  }

  catalog::Catalog& catalog_;
  std::unordered_map<NodeId, std::string> known_;  // directories
};

}  // namespace larder::cache
