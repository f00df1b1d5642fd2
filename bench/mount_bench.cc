// How long a store that holds the records of many cached files takes to open, to answer the first
// question, and to be counted; and what an idle file costs in memory.
//
//   mount_bench DIRECTORY [FILES]
//
// Makes a cache directory's journal in DIRECTORY (node, name and chunk records, as one read of each
// file leaves them), then opens it after a clean stop and after a kill.
#include <fmt/format.h>
#include <malloc.h>
#include <sys/stat.h>

#include <chrono>
#include <cstdlib>

#include "base/check.h"
#include "cache/census.h"
#include "catalog/catalog.h"
#include "evict/registry.h"
#include "io/posix_disk.h"
#include "journal/store.h"

namespace larder {
namespace {

constexpr uint64_t kNamesPerDirectory = 1000;
constexpr uint64_t kFirstNode = 1000;

double seconds() {
  return std::chrono::duration<double>(Clock::system().monotonic()).count();
}

double heap_bytes() {
  const struct mallinfo2 info = mallinfo2();
  return static_cast<double>(info.uordblks + info.hblkhd);
}

void fill(io::Disk& disk, uint64_t files) {
  Registry registry;
  auto store = journal::Store::open(disk, "journal", {}, registry, Clock::system());
  CHECK(store.has_value());
  auto catalog = catalog::Catalog::open(**store);
  CHECK(catalog.has_value());
  for (uint64_t i = 0; i < files; ++i) {
    catalog::NodeRecord record;
    record.attributes.inode = i;
    record.attributes.mode = S_IFREG | 0644;
    record.attributes.size_bytes = 4096;
    record.parent = NodeId{2 + i / kNamesPerDirectory};
    record.name = fmt::format("file-{:08}.txt", i);
    record.object = ObjectId{kFirstNode + i};
    record.version.size_bytes = 4096;
    record.object_bytes = 4096;
    record.block_shift = 17;
    record.data_stable = true;
    record.used_at_ns = static_cast<int64_t>(i);
    record.first_chunk = {1, {static_cast<uint32_t>(i)}};
    catalog::Batch batch;
    batch.put(NodeId{kFirstNode + i}, record);
    batch.put(record.parent, record.name, {NodeId{kFirstNode + i}, S_IFREG});
    CHECK((*catalog)->apply(batch).has_value());
    if (i % 50'000 == 0) CHECK((*store)->commit().has_value());
  }
  CHECK((*store)->close().has_value());
}

void measure(io::Disk& disk, uint64_t files, const char* after, bool close) {
  const double heap_before = heap_bytes();
  const double start = seconds();
  Registry registry;
  auto store = journal::Store::open(disk, "journal", {}, registry, Clock::system());
  CHECK(store.has_value());
  auto catalog = catalog::Catalog::open(**store);
  CHECK(catalog.has_value());
  CHECK((*(*catalog)->node(NodeId{kFirstNode + files / 2})).has_value());
  const double answered = seconds();
  const double heap_open = heap_bytes();
  cache::Budget budget({}, disk, [] { return cache::Overhead{}; }, registry, Clock::system());
  cache::Residents residents([] { return std::move(*evict::make_policy("lru")); }, budget, registry,
                             Clock::system());
  const std::atomic<bool> stop{false};
  CHECK(cache::take_census(**catalog, residents, stop).has_value());
  const double counted = seconds();
  const auto per_file = [&](double bytes) { return bytes / static_cast<double>(files); };
  fmt::print(
      "{} files, after a {}: first answer {:.3f} s, census {:.3f} s; bytes a file: index "
      "{:.1f}, with census {:.1f}\n",
      files, after, answered - start, counted - answered, per_file(heap_open - heap_before),
      per_file(heap_bytes() - heap_before));
  if (close) CHECK((*store)->close().has_value());
}

}  // namespace
}  // namespace larder

int main(int argc, char** argv) {
  using namespace larder;
  CHECK_MSG(argc >= 2, "mount_bench DIRECTORY [FILES]");
  const uint64_t files = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 1'000'000;
  auto disk = io::open_posix_disk(argv[1]);
  CHECK(disk.has_value());
  CHECK((*disk)->make_directory("journal").has_value());
  fill(**disk, files);
  measure(**disk, files, "clean stop", false);
  measure(**disk, files, "kill", true);
}
