#include "cache/census.h"

#include <algorithm>
#include <string>
#include <unordered_map>
#include <vector>

namespace larder::cache {

namespace {

// Paths as the catalog has them, from the source's root.
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

}  // namespace

Result<void> take_census(catalog::Catalog& catalog, Residents& residents, const Rules& rules,
                         const std::atomic<bool>& stop) {
  struct Seen {
    int64_t used_at_ns;
    NodeId node;
    uint64_t bytes;
    int64_t cached_at_ns;
    Hints hints;
  };
  std::vector<Seen> seen;
  RecordedPaths paths(catalog);
  const auto read = catalog.for_each_node([&](NodeId node, const catalog::NodeRecord& record) {
    if (record.object)
      seen.push_back({record.used_at_ns, node, record.object_bytes, record.cached_at_ns,
                      rules.empty() ? Hints{} : rules.match(paths.of(record))});
    return !stop.load(std::memory_order_relaxed);
  });
  if (stop.load(std::memory_order_relaxed)) return {};
  std::ranges::sort(seen, {}, &Seen::used_at_ns);
  for (const Seen& one : seen)
    residents.introduce(one.node, one.bytes, one.cached_at_ns, one.hints);
  residents.end_census(read.has_value());
  residents.trim();
  return read;
}

}  // namespace larder::cache
