// How long a store that holds the records of many cached files takes to open, to answer the first
// question, and to be counted; and what an idle file costs in memory.
//
//   mount_bench DIRECTORY [FILES [POLICY]]
//
// Makes a cache directory's journal in DIRECTORY (node and name records, as one read of each
// file leaves them: two entries a file), then opens it after a clean stop and after a kill, looks
// files up at random, lets most of its log die and has it compacted, and shows what requests meet
// meanwhile.
#include <fmt/format.h>
#include <malloc.h>
#include <sys/stat.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <functional>
#include <thread>
#include <vector>

#include "base/check.h"
#include "base/random.h"
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

// A store and its catalog, as a mount opens them.
struct Opened {
  Registry registry;
  std::unique_ptr<journal::Store> store;
  std::unique_ptr<catalog::Catalog> catalog;

  explicit Opened(io::Disk& disk) {
    auto opened = journal::Store::open(disk, "journal", {}, registry, Clock::system());
    CHECK_MSG(opened.has_value(), opened.error().message());
    store = std::move(*opened);
    auto made = catalog::Catalog::open(*store);
    CHECK(made.has_value());
    catalog = std::move(*made);
  }
};

catalog::NodeRecord record_of(uint64_t i) {
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
  return record;
}

// What the janitor does, all of it at once.
void maintain(journal::Store& store) {
  while (store.is_maintenance_due()) CHECK(store.maintain().has_value());
}

void fill(io::Disk& disk, uint64_t files) {
  const double start = seconds();
  Opened opened(disk);
  for (uint64_t i = 0; i < files; ++i) {
    const catalog::NodeRecord record = record_of(i);
    catalog::Batch batch;
    batch.put(NodeId{kFirstNode + i}, record);
    batch.put(record.parent, record.name, {NodeId{kFirstNode + i}, S_IFREG});
    CHECK(opened.catalog->apply(batch).has_value());
    if (i % 50'000 != 0) continue;
    CHECK(opened.store->commit().has_value());
    maintain(*opened.store);
  }
  CHECK(opened.store->close().has_value());
  fmt::print("{} files, {} entries: built in {:.1f} s, {:.0f} MB on disk, {:.0f} bytes a file\n",
             files, opened.store->key_count(), seconds() - start,
             static_cast<double>(opened.store->disk_bytes()) / 1e6,
             static_cast<double>(opened.store->disk_bytes()) / static_cast<double>(files));
}

// Changes the records of so many files at random and stops dead.
void change_and_die(io::Disk& disk, uint64_t files, uint64_t changes) {
  Opened opened(disk);
  Random random(1);
  for (uint64_t i = 0; i < changes; ++i) {
    const uint64_t file = random.below(files);
    catalog::Batch batch;
    batch.put(NodeId{kFirstNode + file}, record_of(file));
    CHECK(opened.catalog->apply(batch).has_value());
  }
}

// Median, 99th percentile and longest of what a change and a look-up take together, while `beside`
// works in another thread, or for three seconds.
void show_latency(Opened& opened, uint64_t files, const char* beside_name,
                  const std::function<void()>& beside) {
  std::atomic<bool> is_done{false};
  const double start = seconds();
  std::thread other([&] {
    if (beside) beside();
    is_done = true;
  });
  std::vector<double> taken_us;
  Random random(7);
  while (beside ? !is_done : seconds() - start < 3) {
    const uint64_t changed = random.below(files);
    const uint64_t read = random.below(files);
    const double begin = seconds();
    catalog::Batch batch;
    batch.put(NodeId{kFirstNode + changed}, record_of(changed));
    CHECK(opened.catalog->apply(batch).has_value());
    CHECK((*opened.catalog->node(NodeId{kFirstNode + read})).has_value());
    taken_us.push_back((seconds() - begin) * 1e6);
  }
  other.join();
  std::ranges::sort(taken_us);
  const auto quantile = [&](double q) {
    return taken_us[static_cast<size_t>(q * static_cast<double>(taken_us.size() - 1))];
  };
  fmt::print("change and look-up, {} ({:.1f} s): p50 {:.1f} us, p99 {:.1f} us, longest {:.0f} us\n",
             beside_name, seconds() - start, quantile(0.5), quantile(0.99), taken_us.back());
}

void measure_work(io::Disk& disk, uint64_t files) {
  Opened opened(disk);
  Random random(3);
  constexpr uint64_t kLookups = 200'000;
  const double start = seconds();
  for (uint64_t i = 0; i < kLookups; ++i)
    CHECK((*opened.catalog->node(NodeId{kFirstNode + random.below(files)})).has_value());
  fmt::print("{} look-ups at random: {:.2f} us each\n", kLookups,
             (seconds() - start) * 1e6 / kLookups);

  show_latency(opened, files, "alone", nullptr);
  show_latency(opened, files, "during a full checkpoint",
               [&] { CHECK(opened.store->checkpoint().has_value()); });

  // Each node is changed twice: most of the log is dead.
  for (uint64_t i = 0; i < 2 * files; ++i) {
    catalog::Batch batch;
    batch.put(NodeId{kFirstNode + i % files}, record_of(i % files));
    CHECK(opened.catalog->apply(batch).has_value());
    if (i % 50'000 == 0) CHECK(opened.store->commit().has_value());
  }
  CHECK(opened.store->commit().has_value());
  const uint64_t before = opened.store->disk_bytes();
  show_latency(opened, files, "during compaction", [&] { maintain(*opened.store); });
  fmt::print("compacted from {:.0f} to {:.0f} MB\n", static_cast<double>(before) / 1e6,
             static_cast<double>(opened.store->disk_bytes()) / 1e6);
  CHECK(opened.store->close().has_value());
}

void measure(io::Disk& disk, uint64_t files, const std::string& policy, const char* after) {
  const double heap_before = heap_bytes();
  const double start = seconds();
  Opened opened(disk);
  CHECK((*opened.catalog->node(NodeId{kFirstNode + files / 2})).has_value());
  const double answered = seconds();
  const double heap_open = heap_bytes();
  cache::Budget budget(
      {}, disk, [] { return cache::Overhead{}; }, opened.registry, Clock::system());
  cache::Residents residents([&] { return std::move(*evict::make_policy(policy)); }, budget,
                             Nanos(0), opened.registry, Clock::system());
  double longest = 0;  // step
  {
    const cache::Rules rules;
    cache::Census census(*opened.catalog, residents, rules);
    for (bool more = true; more;) {
      const double begun = seconds();
      more = census.step();
      longest = std::max(longest, seconds() - begun);
    }
  }
  const double counted = seconds();
  const auto per_file = [&](double bytes) { return bytes / static_cast<double>(files); };
  fmt::print(
      "{} files, after a {}: first answer {:.3f} s, census {:.3f} s, longest step {:.3f} s; bytes "
      "a "
      "file: index {:.1f}, with census and {} {:.1f}\n",
      files, after, answered - start, counted - answered, longest,
      per_file(heap_open - heap_before), policy, per_file(heap_bytes() - heap_before));
  CHECK(opened.store->close().has_value());
}

}  // namespace
}  // namespace larder

int main(int argc, char** argv) {
  using namespace larder;
  CHECK_MSG(argc >= 2, "mount_bench DIRECTORY [FILES [POLICY]]");
  const uint64_t files = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 1'000'000;
  const std::string policy = argc > 3 ? argv[3] : "hybrid";
  auto disk = io::open_posix_disk(argv[1]);
  CHECK(disk.has_value());
  CHECK((*disk)->make_directory("journal").has_value());
  fill(**disk, files);
  measure(**disk, files, policy, "clean stop");
  change_and_die(**disk, files, 100'000);
  measure(**disk, files, policy, "kill with 100,000 records to replay");
  measure_work(**disk, files);
  measure(**disk, files, policy, "clean stop, compacted");
}
