// Makes a cache directory look as if many more files were cached in it, for bench/run's "million".
//
//   grow_catalog CACHE_DIR add FILES       node, name and chunk records in directories of 1000, as
//                                          one read of each file leaves them; closes cleanly
//   grow_catalog CACHE_DIR touch RECORDS   writes so many nodes' records anew and ends without
//                                          closing: as a killed mount leaves it, with a log to
//                                          replay
//
// CACHE_DIR must have been mounted before and not be in use.  The files made up have no objects:
// they must not be read.
#include <fmt/format.h>
#include <sys/stat.h>

#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/check.h"
#include "catalog/catalog.h"
#include "io/posix_disk.h"
#include "journal/store.h"

namespace larder {
namespace {

constexpr uint64_t kFilesEach = 1000;
constexpr uint64_t kFileBytes = 4096;
constexpr uint64_t kCommitEvery = 50'000;

class Cache {
 public:
  explicit Cache(const std::string& path) {
    auto disk = io::open_posix_disk_locked(path, "lock");
    CHECK_MSG(disk.has_value(), disk.error().message());
    disk_ = std::move(*disk);
    auto store = journal::Store::open(*disk_, "journal", {}, registry_, Clock::system());
    CHECK_MSG(store.has_value(), store.error().message());
    store_ = std::move(*store);
    auto catalog = catalog::Catalog::open(*store_);
    CHECK_MSG(catalog.has_value(), catalog.error().message());
    catalog_ = std::move(*catalog);
  }

  void add(uint64_t files) {
    NodeId directory;
    for (uint64_t i = 0; i < files; ++i) {
      if (i % kFilesEach == 0)
        directory = put(kRootNode, fmt::format("made-{:06}", i / kFilesEach), S_IFDIR | 0755);
      put(directory, fmt::format("file-{:08}.txt", i), S_IFREG | 0644);
      if (i % kCommitEvery == 0) CHECK(store_->commit().has_value());
    }
    CHECK(store_->close().has_value());
  }

  void touch(uint64_t records) {
    std::vector<std::pair<NodeId, catalog::NodeRecord>> nodes;
    CHECK(catalog_->for_each_node([&](NodeId id, const catalog::NodeRecord& record) {
      if (record.name.starts_with("file-")) nodes.emplace_back(id, record);
      return nodes.size() < records;
    }));
    for (auto& [id, record] : nodes) {
      ++record.used_at_ns;
      catalog::Batch batch;
      batch.put(id, record);
      CHECK(catalog_->apply(batch).has_value());
    }
  }

 private:
  NodeId put(NodeId parent, const std::string& name, uint32_t mode) {
    const auto node = catalog_->allocate_node();
    CHECK(node.has_value());
    catalog::NodeRecord record;
    record.attributes.inode = node->value;
    record.attributes.mode = mode;
    record.attributes.nlink = 1;
    record.parent = parent;
    record.name = name;
    catalog::Batch batch;
    if (S_ISREG(mode)) {
      const auto object = catalog_->allocate_object();
      CHECK(object.has_value());
      record.attributes.size_bytes = record.version.size_bytes = kFileBytes;
      record.object = *object;
      record.object_bytes = kFileBytes;
      record.block_shift = 17;
      record.data_stable = true;
      record.used_at_ns = static_cast<int64_t>(node->value);
      record.first_chunk = {1, {static_cast<uint32_t>(node->value)}};
    }
    batch.put(*node, record);
    batch.put(parent, name, {*node, mode & S_IFMT});
    CHECK(catalog_->apply(batch).has_value());
    return *node;
  }

  Registry registry_;
  std::unique_ptr<io::Disk> disk_;
  std::unique_ptr<journal::Store> store_;
  std::unique_ptr<catalog::Catalog> catalog_;
};

}  // namespace
}  // namespace larder

int main(int argc, char** argv) {
  const std::string_view verb = argc == 4 ? argv[2] : "";
  if (verb != "add" && verb != "touch") {
    fmt::print(stderr, "usage: grow_catalog CACHE_DIR add FILES | touch RECORDS\n");
    return 2;
  }
  const uint64_t count = std::strtoull(argv[3], nullptr, 10);
  larder::Cache cache(argv[1]);
  if (verb == "add")
    cache.add(count);
  else
    cache.touch(count);
}
