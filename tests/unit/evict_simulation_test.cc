#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "evict/patterns.h"
#include "evict/registry.h"
#include "evict/simulation.h"
#include "evict_testing.h"

namespace larder::evict {
namespace {

using testing::HasSubstr;

TEST(Registry, MakesEveryPolicyItNames) {
  ASSERT_FALSE(policy_names().empty());
  for (const std::string_view name : policy_names()) {
    const auto policy = make_policy(name);
    ASSERT_TRUE(policy) << name;
    (*policy)->reserve(1);
    (*policy)->insert(0, Item{.key_hash = 1, .weight_bytes = 1, .now_s = 1});
    EXPECT_EQ((*policy)->victim(any_slot), Slot{0}) << name;
  }
}

TEST(Registry, AnUnknownNameGetsTheListOfKnownOnes) {
  const auto policy = make_policy("mru");
  ASSERT_FALSE(policy);
  EXPECT_EQ(policy.error().code(), Code::kInvalid);
  EXPECT_THAT(policy.error().detail(), HasSubstr("'mru'"));
  for (const std::string_view name : policy_names())
    EXPECT_THAT(policy.error().detail(), HasSubstr(std::string(name)));
}

Trace trace_of(std::initializer_list<uint32_t> keys) {
  Trace trace{.keys = keys, .sizes_bytes = {}, .times_s = {}, .distinct = 0};
  for (const uint32_t key : keys) trace.distinct = std::max(trace.distinct, key + 1);
  return trace;
}

HitCounts run(const Trace& trace, std::string_view name, uint64_t capacity, uint32_t ttl_s = 0) {
  return replay(trace, **make_policy(name), capacity, ttl_s);
}

TEST(Simulation, LruCountsByHand) {
  //                             -  -  -  h  -  h  -  -
  const Trace trace = trace_of({0, 1, 2, 1, 3, 1, 0, 2});
  const HitCounts counts = run(trace, "lru", 2);
  EXPECT_EQ(counts.requests, 8u);
  EXPECT_EQ(counts.hits, 2u);
  EXPECT_EQ(counts.hit_bytes, 2u) << "without sizes an item counts one";
  EXPECT_EQ(run(trace, "lru", 4).hits, 4u);
}

TEST(Simulation, SizesAreKeptWithinTheCapacity) {
  Trace trace = trace_of({0, 1, 0, 2, 0, 1});
  trace.sizes_bytes = {10, 10, 10, 100, 10, 10};
  HitCounts counts = run(trace, "lru", 50);
  EXPECT_EQ(counts.hits, 3u) << "2 is too large to come in";
  EXPECT_EQ(counts.bytes, 150u);
  EXPECT_EQ(counts.hit_bytes, 30u);
}

TEST(Simulation, AnotherSizeIsAnotherVersion) {
  Trace trace = trace_of({0, 1, 0, 1, 0, 1, 0});
  trace.sizes_bytes = {10, 10, 45, 10, 45, 10, 45};  // 0 grows and 1 has to go, and so on
  EXPECT_EQ(run(trace, "lru", 50).hits, 0u);
  EXPECT_EQ(run(trace, "lru", 55).hits, 4u);
  // No policy has more than the optimum, whatever sizes do.
  EXPECT_EQ(optimum(trace, 55).hits, 4u);
  trace = trace_of({0, 1, 0, 1});
  trace.sizes_bytes = {4096, 10, 20'000'000, 10};
  EXPECT_EQ(run(trace, "lru", 16 << 20).hits, 1u);
  EXPECT_GE(optimum(trace, 16 << 20).hits, 1u);
}

TEST(Simulation, ItemsExpire) {
  Trace trace = trace_of({0, 0, 0, 0});
  trace.times_s = {0, 9, 10, 19};
  EXPECT_EQ(run(trace, "ttl", 1, 10).hits, 2u);
  EXPECT_EQ(run(trace, "ttl", 1).hits, 3u);
}

// Every policy that evicts one of what is there, by trying all of them.
uint64_t best_hits(const Trace& trace, size_t capacity, size_t at, std::vector<uint32_t> cached) {
  for (; at < trace.keys.size(); ++at) {
    const uint32_t key = trace.keys[at];
    if (std::ranges::find(cached, key) != cached.end())
      return 1 + best_hits(trace, capacity, at + 1, cached);
    if (cached.size() < capacity) {
      cached.push_back(key);
      continue;
    }
    uint64_t best = 0;
    for (uint32_t& place : cached) {
      const uint32_t evicted = std::exchange(place, key);
      best = std::max(best, best_hits(trace, capacity, at + 1, cached));
      place = evicted;
    }
    return best;
  }
  return 0;
}

TEST(Optimum, IsTheBestThereIsOnSmallTraces) {
  Random random(1);
  for (int round = 0; round < 200; ++round) {
    Trace trace;
    trace.distinct = 5;
    for (int i = 0; i < 14; ++i) trace.keys.push_back(static_cast<uint32_t>(random.below(5)));
    for (const size_t capacity : {1, 2, 3})
      ASSERT_EQ(optimum(trace, capacity).hits, best_hits(trace, capacity, 0, {}))
          << "round " << round << " capacity " << capacity;
  }
}

TEST(Optimum, WithSizesNoPolicyExceedsIt) {
  PatternOptions options{.items = 500, .requests = 20'000, .seed = 3};
  const Trace trace = *make_pattern("sizes", options);
  for (const uint64_t capacity : {1 << 20, 8 << 20, 64 << 20}) {
    const HitCounts bound = optimum(trace, capacity);
    for (const std::string_view name : policy_names()) {
      const HitCounts counts = run(trace, name, capacity);
      EXPECT_LE(counts.hits, bound.hits) << name;
      EXPECT_LE(counts.hit_bytes, bound.hit_bytes) << name;
    }
  }
}

TEST(Optimum, WithSizesAllOneTheBoundIsCloseToTheOptimum) {
  PatternOptions options{.items = 500, .requests = 20'000, .seed = 3};
  Trace trace = *make_pattern("zipf", options);
  const double exact = optimum(trace, 50).hit_ratio();
  trace.sizes_bytes.assign(trace.keys.size(), 1);
  const double bound = optimum(trace, 50).hit_ratio();
  EXPECT_GE(bound, exact);
  EXPECT_LT(bound, exact + 0.03);
}

TEST(Patterns, AreTheSameForTheSameSeedAndHaveDenseKeys) {
  for (const std::string_view name : pattern_names()) {
    const PatternOptions options{.items = 200, .requests = 5'000, .seed = 7};
    const auto trace = make_pattern(name, options);
    ASSERT_TRUE(trace);
    EXPECT_EQ(trace->keys, make_pattern(name, options)->keys) << name;
    EXPECT_EQ(trace->keys.size(), 5'000u) << name;
    EXPECT_LT(std::ranges::max(trace->keys), trace->distinct) << name;
  }
  EXPECT_THAT(make_pattern("noise", {}).error().detail(), HasSubstr("'noise'"));
}

// The relations that docs/EVICTION.md shows at length.
TEST(HitRatios, HybridIsNeverMuchBelowLru) {
  for (const std::string_view name : pattern_names()) {
    const Trace trace = *make_pattern(name, {.items = 2'000, .requests = 100'000, .seed = 5});
    const uint64_t unit = trace.sizes_bytes.empty() ? 1 : 65'536;
    for (const uint64_t items : {20, 100, 200, 400, 1000}) {
      const double lru = run(trace, "lru", items * unit).hit_ratio();
      const double hybrid = run(trace, "hybrid", items * unit).hit_ratio();
      EXPECT_GE(hybrid, lru - 0.01) << name << ", " << items << " items";
    }
  }
}

TEST(HitRatios, HybridFollowsLruWhereWhatWasUsedLatelyIsUsedAgain) {
  for (const uint64_t seed : {1, 2, 3}) {
    const Trace recent =
        *make_pattern("recent", {.items = 1'000, .requests = 50'000, .seed = seed});
    for (const uint64_t items : {50, 200, 500, 700})
      EXPECT_GE(run(recent, "hybrid", items).hit_ratio(),
                run(recent, "lru", items).hit_ratio() - 0.0025)
          << seed << ", " << items << " items";
  }
}

TEST(HitRatios, HybridIsTheBetterOfLruAndLfuOnAMixedTrace) {
  // Half of it as "recent", where LRU is better, half as a loop, where frequency is.
  const PatternOptions options{.items = 1'000, .requests = 60'000, .seed = 1};
  Trace mixed = *make_pattern("recent", options);
  const Trace loop = *make_pattern("loop", options);
  mixed.keys.insert(mixed.keys.end(), loop.keys.begin(), loop.keys.end());
  for (const uint64_t items : {100, 300, 600, 900}) {
    const uint64_t hits = run(mixed, "hybrid", items).hits;
    EXPECT_GE(hits, run(mixed, "lru", items).hits) << items;
    EXPECT_GE(hits, run(mixed, "lfu", items).hits) << items;
  }
}

TEST(HitRatios, HybridLosesNextToNothingInACacheAlmostLargeEnough) {
  const Trace zipf = *make_pattern("zipf", {.items = 2'000, .requests = 60'000, .seed = 5});
  for (const uint64_t items : {1'500, 1'700, 1'800}) {
    const double nearly = run(zipf, "hybrid", items).hit_ratio() + 0.0005;
    EXPECT_GE(nearly, run(zipf, "lru", items).hit_ratio()) << items;
    EXPECT_GE(nearly, run(zipf, "lfu", items).hit_ratio()) << items;
  }
}

// With few misses most hits are not learnt from; what comes later is judged rightly still.
TEST(HitRatios, HybridServesALoopAfterALongTimeWithoutAMiss) {
  const PatternOptions options{.items = 1'000, .requests = 50'000, .seed = 5};
  Trace trace = *make_pattern("zipf", {.items = 400, .requests = 100'000, .seed = 5});
  const Trace loop = *make_pattern("loop", options);
  trace.keys.insert(trace.keys.end(), loop.keys.begin(), loop.keys.end());
  trace.distinct = loop.distinct;
  const uint64_t hits_before = 100'000 - 400;
  EXPECT_GE(run(trace, "hybrid", 500).hits - hits_before, 50'000 * 4 / 10);
}

TEST(HitRatios, HybridKeepsAPartOfALoopAndOfWhatIsPopular) {
  const Trace loop = *make_pattern("loop", {.items = 1'000, .requests = 50'000, .seed = 5});
  EXPECT_EQ(run(loop, "lru", 500).hits, 0u);
  EXPECT_GT(run(loop, "hybrid", 500).hit_ratio(), optimum(loop, 500).hit_ratio() - 0.04);
  const Trace zipf = *make_pattern("zipf-scan", {.items = 1'000, .requests = 50'000, .seed = 5});
  EXPECT_GT(run(zipf, "hybrid", 100).hit_ratio(), run(zipf, "lru", 100).hit_ratio() + 0.05);
  EXPECT_GT(run(zipf, "lfu", 100).hit_ratio(), run(zipf, "lru", 100).hit_ratio());
  const Trace big = *make_pattern("big-scan", {.items = 1'000, .requests = 50'000, .seed = 5});
  EXPECT_GT(run(big, "hybrid", 4 << 20).hit_ratio(), run(big, "lru", 4 << 20).hit_ratio() + 0.1);
}

}  // namespace
}  // namespace larder::evict
