// The engine's hot paths, in process and without FUSE.
#include <benchmark/benchmark.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/random.h"
#include "evict/registry.h"
#include "memory/block_cache.h"

namespace larder {
namespace {

constexpr size_t kBlockBytes = 4096;
constexpr uint64_t kBlocks = 16384;  // 64 MiB: beyond the processor's caches

struct MemoryTier {
  explicit MemoryTier(size_t budget_bytes, size_t shards = 16, std::string_view policy = "hybrid")
      : pool(budget_bytes + (8 << 20)),
        cache({.budget_bytes = budget_bytes, .shards = shards, .policy = std::string(policy)},
              registry) {}

  static memory::BlockKey key(uint64_t n) { return {ObjectId{1 + n / 256}, n % 256}; }
  void fill() {
    for (uint64_t n = 0; n < kBlocks; ++n) cache.put(key(n), pool.allocate(kBlockBytes));
  }

  Registry registry;
  buffer::Pool pool;
  memory::BlockCache cache;
};

// Arguments: shards, and the policy's place in the registry.
void memory_hit(benchmark::State& state) {
  static std::unique_ptr<MemoryTier> tier;
  const std::string_view policy = evict::policy_names()[static_cast<size_t>(state.range(1))];
  if (state.thread_index() == 0) {
    // Twice the blocks' bytes, so that an uneven spread over the shards evicts nothing.
    tier = std::make_unique<MemoryTier>(2 * kBlocks * kBlockBytes,
                                        static_cast<size_t>(state.range(0)), policy);
    tier->fill();
    state.SetLabel(std::string(policy));
  }
  Random random(static_cast<uint64_t>(state.thread_index()));
  uint64_t misses = 0;
  for (auto _ : state) {  // the threads begin together, after the first has made the tier
    const auto block = tier->cache.get(MemoryTier::key(random.below(kBlocks)));
    misses += block ? 0 : 1;
    benchmark::DoNotOptimize(block);
  }
  if (misses > 0) state.SkipWithError("a block was missing");
}
BENCHMARK(memory_hit)
    ->ArgNames({"shards", "policy"})
    ->ArgsProduct({{1, 16}, {0, 1, 2, 3}})
    ->Threads(1)
    ->ThreadPerCpu()
    ->UseRealTime();

// About nine of ten requests are hits; what is missed comes in, and something goes.  Argument: the
// policy's place in the registry.
void memory_mixed(benchmark::State& state) {
  const std::string_view policy = evict::policy_names()[static_cast<size_t>(state.range(0))];
  MemoryTier tier(kBlocks * 9 / 10 * kBlockBytes, 16, policy);
  tier.fill();
  Random random(1);
  uint64_t hits = 0;
  for (auto _ : state) {
    const memory::BlockKey key = MemoryTier::key(random.below(kBlocks));
    if (tier.cache.get(key))
      ++hits;
    else
      tier.cache.put(key, tier.pool.allocate(kBlockBytes));
  }
  state.SetLabel(std::string(policy));
  state.counters["hits"] =
      benchmark::Counter(static_cast<double>(hits), benchmark::Counter::kAvgIterations);
}
BENCHMARK(memory_mixed)->ArgName("policy")->DenseRange(0, 3);

void memory_miss(benchmark::State& state) {
  MemoryTier tier(kBlocks * kBlockBytes);
  uint64_t n = 0;
  for (auto _ : state) benchmark::DoNotOptimize(tier.cache.get(MemoryTier::key(++n)));
}
BENCHMARK(memory_miss);

// At the budget: each put takes a buffer from the pool and evicts one.
void memory_put(benchmark::State& state) {
  MemoryTier tier(kBlocks / 4 * kBlockBytes);
  tier.fill();
  uint64_t n = 0;
  for (auto _ : state) tier.cache.put(MemoryTier::key(++n), tier.pool.allocate(kBlockBytes));
}
BENCHMARK(memory_put);

}  // namespace
}  // namespace larder

BENCHMARK_MAIN();
