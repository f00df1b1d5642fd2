// The journal on the real disk: in a directory under $LARDER_BENCH_DIR, or else /var/tmp.
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <memory>
#include <string>
#include <vector>

#include "base/check.h"
#include "base/random.h"
#include "journal/store.h"
#include "scratch_disk.h"

namespace larder::journal {
namespace {

constexpr uint64_t kKeys = 3'000'000;
constexpr size_t kValueBytes = 64;

std::string key_of(uint64_t i) {
  return fmt::format("node-{:012x}", i);
}

class Scratch {
 public:
  std::unique_ptr<Store> open(StoreOptions options = {}) {
    auto store = Store::open(disk_.disk(), "journal", options, registry_, Clock::system());
    CHECK_MSG(store.has_value(), store.error().message());
    return std::move(*store);
  }

  double counted(const std::string& name) const {
    for (const Registry::Entry& entry : registry_.entries())
      if (entry.name == name && entry.counter != nullptr)
        return static_cast<double>(entry.counter->value());
    return 0;
  }

 private:
  bench::ScratchDisk disk_;
  Registry registry_;
};

void fill(Store& store, uint64_t keys) {
  std::vector<Change> batch;
  for (uint64_t i = 0; i < keys; ++i) {
    batch.push_back({key_of(i), std::string(kValueBytes, 'v')});
    if (batch.size() < 100 && i + 1 < keys) continue;
    CHECK(store.apply(batch).has_value());
    batch.clear();
  }
}

void append(benchmark::State& state) {
  Scratch scratch;
  const auto store = scratch.open();
  std::vector<Change> batch{{key_of(0), std::string(kValueBytes, 'v')}};
  uint64_t i = 0;
  for (auto _ : state) {
    batch[0].key = key_of(i++ % 100'000);
    CHECK(store->apply(batch).has_value());
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(append);

void append_and_commit(benchmark::State& state) {
  Scratch scratch;
  const auto store = scratch.open();
  const std::vector<Change> batch{{key_of(0), std::string(kValueBytes, 'v')}};
  for (auto _ : state) CHECK(store->apply(batch).has_value() && store->commit().has_value());
}
BENCHMARK(append_and_commit)->UseRealTime();

// As many threads as want their change durable at the same time; what one sync carries.
void commit_together(benchmark::State& state) {
  static Scratch* scratch = nullptr;
  static std::unique_ptr<Store> store;
  if (state.thread_index() == 0) {
    scratch = new Scratch;
    store = scratch->open();
  }
  const std::vector<Change> batch{
      {key_of(static_cast<uint64_t>(state.thread_index())), std::string(kValueBytes, 'v')}};
  for (auto _ : state) CHECK(store->apply(batch).has_value() && store->commit().has_value());
  if (state.thread_index() == 0) {
    const auto syncs = scratch->counted("larder_journal_syncs_total");
    state.counters["records_per_sync"] = scratch->counted("larder_journal_records_total") / syncs;
    state.counters["bytes_per_sync"] = scratch->counted("larder_journal_bytes_total") / syncs;
    store.reset();
    delete scratch;
  }
}
BENCHMARK(commit_together)->Threads(1)->Threads(4)->Threads(16)->Threads(64)->UseRealTime();

void get_hot(benchmark::State& state) {
  Scratch scratch;
  const auto store = scratch.open();
  constexpr uint64_t kHotKeys = 10'000;
  fill(*store, kHotKeys);
  std::vector<std::string> keys;
  for (uint64_t i = 0; i < kHotKeys; ++i) keys.push_back(key_of(i));
  Random random(1);
  for (auto _ : state) {
    auto value = store->get(keys[random.below(kHotKeys)]);
    CHECK(value.has_value() && value->has_value());
    benchmark::DoNotOptimize(value);
  }
}
BENCHMARK(get_hot);

// The records are in the page cache most likely: the cost of the path, not of the device.
void get_cold(benchmark::State& state) {
  Scratch scratch;
  const auto store = scratch.open();
  fill(*store, kKeys);
  Random random(1);
  for (auto _ : state) {
    auto value = store->get(key_of(random.below(kKeys / 2)));
    CHECK(value.has_value() && value->has_value());
    benchmark::DoNotOptimize(value);
  }
  state.counters["index_bytes_per_key"] =
      static_cast<double>(store->index_bytes()) / static_cast<double>(store->key_count());
}
BENCHMARK(get_cold);

void checkpoint(benchmark::State& state) {
  Scratch scratch;
  const auto store = scratch.open();
  fill(*store, kKeys);
  CHECK(store->commit().has_value());
  for (auto _ : state) CHECK(store->checkpoint().has_value());
}
BENCHMARK(checkpoint)->Unit(benchmark::kMillisecond)->UseRealTime()->Iterations(3);

void recover_from_checkpoint(benchmark::State& state) {
  Scratch scratch;
  {
    const auto store = scratch.open();
    fill(*store, kKeys);
    CHECK(store->close().has_value());
  }
  for (auto _ : state) {
    const auto store = scratch.open();
    CHECK(store->recovery().clean && store->key_count() == kKeys);
  }
}
BENCHMARK(recover_from_checkpoint)->Unit(benchmark::kMillisecond)->UseRealTime();

void recover_by_replay(benchmark::State& state) {
  Scratch scratch;
  fill(*scratch.open({.checkpoint_after_bytes = UINT64_MAX}), kKeys);
  for (auto _ : state) {
    const auto store = scratch.open({.checkpoint_after_bytes = UINT64_MAX});
    CHECK(store->recovery().records_replayed == kKeys && store->key_count() == kKeys);
  }
  state.SetItemsProcessed(state.iterations() * static_cast<int64_t>(kKeys));
}
BENCHMARK(recover_by_replay)->Unit(benchmark::kMillisecond)->UseRealTime();

}  // namespace
}  // namespace larder::journal

BENCHMARK_MAIN();
