#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <latch>
#include <new>
#include <thread>
#include <vector>

#include "base/random.h"
#include "base/sanitizer.h"
#include "evict/registry.h"
#include "memory/block_cache.h"
#include "memory/shard.h"

// Counts every allocation of this thread, to see that a hit makes none.  Sanitizers bring an
// operator new of their own, which is to be left alone.
namespace {
thread_local uint64_t g_allocations = 0;
}
#if !LARDER_WITH_ASAN && !LARDER_WITH_TSAN
void* operator new(size_t size) {
  ++g_allocations;
  if (void* memory = std::malloc(size)) return memory;
  throw std::bad_alloc();
}
void operator delete(void* memory) noexcept {
  std::free(memory);
}
void operator delete(void* memory, size_t) noexcept {
  std::free(memory);
}
#endif

namespace larder::memory {
namespace {

constexpr size_t kBlock = buffer::Pool::kSizeMin;

class BlockCacheTest : public testing::Test {
 protected:
  BlockCache make(size_t budget_bytes, size_t shards = 1, std::string_view policy = "lru") {
    return BlockCache(
        {.budget_bytes = budget_bytes, .shards = shards, .policy = std::string(policy)}, registry_);
  }
  buffer::BufferRef block(uint64_t content, size_t size_bytes = kBlock) {
    buffer::BufferRef buffer = pool_.allocate(size_bytes);
    std::memcpy(buffer.bytes().data(), &content, sizeof content);
    buffer.set_size(size_bytes);
    return buffer;
  }
  static uint64_t content(const buffer::BufferRef& buffer) {
    uint64_t value = 0;
    std::memcpy(&value, buffer.data().data(), sizeof value);
    return value;
  }
  static BlockKey key(uint64_t block, uint64_t object = 1) { return {ObjectId{object}, block}; }
  uint64_t counter(const std::string& name) { return registry_.counter(name, "").value(); }
  int64_t used_gauge() { return registry_.gauge("larder_memory_used_bytes", "").value(); }

  Registry registry_;
  buffer::Pool pool_{256 << 20};
};

TEST_F(BlockCacheTest, GivesBackWhatWasPut) {
  BlockCache cache = make(64 * kBlock);
  EXPECT_FALSE(cache.get(key(0)));
  cache.put(key(0), block(10));
  cache.put(key(0, 2), block(20));
  EXPECT_EQ(content(cache.get(key(0))), 10u);
  EXPECT_EQ(content(cache.get(key(0, 2))), 20u);
  EXPECT_FALSE(cache.get(key(1)));
  EXPECT_EQ(counter("larder_memory_hits_total"), 2u);
  EXPECT_EQ(counter("larder_memory_misses_total"), 2u);
  EXPECT_EQ(counter("larder_memory_inserted_bytes_total"), 2 * kBlock);
  EXPECT_EQ(used_gauge(), 2 * kBlock);
}

TEST_F(BlockCacheTest, ANewerBlockReplacesTheOlder) {
  BlockCache cache = make(64 * kBlock);
  cache.put(key(0), block(1));
  cache.put(key(0), block(2, 2 * kBlock));
  EXPECT_EQ(content(cache.get(key(0))), 2u);
  EXPECT_EQ(cache.used_bytes(), 2 * kBlock);
  EXPECT_EQ(pool_.in_use_bytes(), 2 * kBlock);
  EXPECT_EQ(counter("larder_memory_evicted_bytes_total"), 0u);
}

TEST_F(BlockCacheTest, EvictsTheLeastRecentlyUsedAtTheLimit) {
  BlockCache cache = make(3 * kBlock);
  for (uint64_t i = 0; i < 3; ++i) cache.put(key(i), block(i));
  cache.get(key(0));
  cache.put(key(3), block(3));
  EXPECT_FALSE(cache.get(key(1)));
  cache.put(key(4), block(4, 2 * kBlock));  // two have to go: 2 and 0
  EXPECT_FALSE(cache.get(key(2)));
  EXPECT_FALSE(cache.get(key(0)));
  EXPECT_EQ(content(cache.get(key(3))), 3u);
  EXPECT_EQ(content(cache.get(key(4))), 4u);
  EXPECT_EQ(cache.used_bytes(), cache.budget_bytes());
  EXPECT_EQ(counter("larder_memory_evicted_bytes_total"), 3 * kBlock);
}

TEST_F(BlockCacheTest, ReplacingAtTheLimitEvictsNoOther) {
  BlockCache cache = make(2 * kBlock);
  cache.put(key(0), block(0));
  cache.put(key(1), block(1));
  cache.put(key(1), block(2));
  EXPECT_EQ(content(cache.get(key(0))), 0u);
  EXPECT_EQ(content(cache.get(key(1))), 2u);
}

TEST_F(BlockCacheTest, DoesNotKeepWhatIsLargerThanTheBudget) {
  BlockCache cache = make(2 * kBlock);
  cache.put(key(0), block(0));
  cache.put(key(1), block(1));
  cache.put(key(1), block(2, 4 * kBlock));
  EXPECT_FALSE(cache.get(key(1)));  // nor the outdated version
  EXPECT_EQ(content(cache.get(key(0))), 0u);
  EXPECT_EQ(counter("larder_memory_refused_total"), 1u);
  EXPECT_EQ(used_gauge(), kBlock);
}

TEST_F(BlockCacheTest, WithoutABudgetKeepsNothing) {
  BlockCache cache = make(0, 16);
  cache.put(key(0), block(0));
  EXPECT_FALSE(cache.get(key(0)));
  EXPECT_EQ(pool_.in_use_bytes(), 0u);
}

TEST_F(BlockCacheTest, AnEvictedBlockLivesAsLongAsItsReaders) {
  BlockCache cache = make(kBlock);
  cache.put(key(0), block(7));
  const buffer::BufferRef held = cache.get(key(0));
  cache.put(key(1), block(8));
  EXPECT_FALSE(cache.get(key(0)));
  EXPECT_EQ(content(held), 7u);
}

TEST_F(BlockCacheTest, ErasesOneBlock) {
  BlockCache cache = make(64 * kBlock);
  cache.put(key(0), block(0));
  cache.put(key(1), block(1));
  cache.erase(key(0));
  cache.erase(key(5));
  EXPECT_FALSE(cache.get(key(0)));
  EXPECT_TRUE(cache.get(key(1)));
  EXPECT_EQ(used_gauge(), kBlock);
}

TEST_F(BlockCacheTest, ErasesAnObjectFromABlockOn) {
  constexpr uint64_t kObjects = 40, kBlocks = 30, kFirstGone = 11;
  BlockCache cache = make(64 << 20, 8);
  for (uint64_t object = 1; object <= kObjects; ++object)
    for (uint64_t i = 0; i < kBlocks; ++i) cache.put(key(i, object), block(object * 100 + i));
  cache.erase_object(ObjectId{5}, kFirstGone);
  cache.erase_object(ObjectId{6});
  for (uint64_t object = 1; object <= kObjects; ++object) {
    for (uint64_t i = 0; i < kBlocks; ++i) {
      const bool gone = object == 6 || (object == 5 && i >= kFirstGone);
      const auto found = cache.get(key(i, object));
      ASSERT_EQ(static_cast<bool>(found), !gone) << object << " " << i;
      if (found) {
        ASSERT_EQ(content(found), object * 100 + i);
      }
    }
  }
  EXPECT_EQ(cache.used_bytes(), (kObjects * kBlocks - kBlocks - (kBlocks - kFirstGone)) * kBlock);
  EXPECT_EQ(used_gauge(), static_cast<int64_t>(cache.used_bytes()));
}

TEST_F(BlockCacheTest, AHitAllocatesNothing) {
#if defined(LARDER_SANITIZED)
  GTEST_SKIP() << "allocations cannot be counted under TSan";
#endif
  for (const std::string_view policy : evict::policy_names()) {
    BlockCache cache = make(64 << 20, 16, policy);
    for (uint64_t i = 0; i < 1000; ++i) cache.put(key(i), block(i));
    uint64_t hits = 0;
    const uint64_t before = g_allocations;
    for (uint64_t i = 0; i < 1000; ++i) hits += cache.get(key(i)) ? 1 : 0;
    EXPECT_EQ(g_allocations, before) << policy;
    EXPECT_EQ(hits, 1000u) << policy;
  }
}

TEST_F(BlockCacheTest, EveryPolicyHoldsTheBudgetAndEvicts) {
  for (const std::string_view policy : evict::policy_names()) {
    BlockCache cache = make(50 * kBlock, 1, policy);
    Random random(1);
    for (int i = 0; i < 5'000; ++i) {
      const uint64_t index = random.below(200);
      if (const auto found = cache.get(key(index)))
        ASSERT_EQ(content(found), index) << policy;
      else
        cache.put(key(index), block(index, kBlock << random.below(2)));
      ASSERT_LE(cache.used_bytes(), cache.budget_bytes()) << policy;
    }
    EXPECT_GT(cache.used_bytes(), 40 * kBlock) << policy;
  }
}

TEST_F(BlockCacheTest, BuffersGoBackToThePoolAtTheEnd) {
  {
    BlockCache cache = make(64 * kBlock);
    for (uint64_t i = 0; i < 10; ++i) cache.put(key(i), block(i));
    EXPECT_EQ(pool_.in_use_bytes(), 10 * kBlock);
  }
  EXPECT_EQ(pool_.in_use_bytes(), 0u);
  EXPECT_EQ(used_gauge(), 0);
}

TEST_F(BlockCacheTest, ThreadsSeeOnlyTheirBlocksAndTheBudgetHolds) {
  constexpr size_t kThreads = 4;
  BlockCache cache = make(2 * BlockCache::kShareMin, 2);
  std::latch start(kThreads);
  std::atomic<int> foreign{0}, over_budget{0};
  std::vector<std::jthread> threads;
  for (size_t t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      Random random(t);
      start.arrive_and_wait();
      for (int i = 0; i < 20'000; ++i) {
        const uint64_t object = 1 + random.below(8), index = random.below(1000);
        const uint64_t expected = object * 1'000'000 + index;
        switch (random.below(8)) {
          case 0:
            cache.erase(key(index, object));
            break;
          case 1:
            if (random.one_in(200)) cache.erase_object(ObjectId{object}, index);
            break;
          case 2:
          case 3:
            cache.put(key(index, object), block(expected, kBlock << random.below(3)));
            break;
          default:
            if (const auto found = cache.get(key(index, object)))
              if (content(found) != expected) ++foreign;
        }
        if (cache.used_bytes() > cache.budget_bytes()) ++over_budget;
      }
    });
  }
  threads.clear();
  EXPECT_EQ(foreign.load(), 0);
  EXPECT_EQ(over_budget.load(), 0);
  EXPECT_EQ(pool_.in_use_bytes(), cache.used_bytes());
  EXPECT_EQ(used_gauge(), static_cast<int64_t>(cache.used_bytes()));
}

// Evicts nothing.  A hit stays until there is another one, or for `patience`.
class MeetingPolicy final : public evict::Policy {
 public:
  MeetingPolicy(evict::HitLock lock, std::chrono::milliseconds patience, std::atomic<bool>& met)
      : lock_(lock), patience_(patience), met_(met) {}

  evict::HitLock hit_lock() const override { return lock_; }
  void reserve(evict::Slot) override {}
  void insert(evict::Slot, const evict::Item&) override {}
  void hit(evict::Slot) override {
    const auto give_up = std::chrono::steady_clock::now() + patience_;
    if (++inside_ == 2) met_ = true;
    while (!met_ && std::chrono::steady_clock::now() < give_up) std::this_thread::yield();
    --inside_;
  }
  void erase(evict::Slot) override {}
  std::optional<evict::Slot> victim(evict::SlotFilter) override { return std::nullopt; }

 private:
  const evict::HitLock lock_;
  const std::chrono::milliseconds patience_;
  std::atomic<int> inside_ = 0;
  std::atomic<bool>& met_;
};

class ShardTest : public BlockCacheTest {
 protected:
  // Whether the hits of two threads were in the policy at the same time.
  bool hits_meet(evict::HitLock lock, std::chrono::milliseconds patience) {
    std::atomic<bool> met = false;
    Shard shard(4 * kBlock, std::make_unique<MeetingPolicy>(lock, patience, met));
    shard.put(key(0), hash_of(key(0)), block(0), 0);
    std::vector<std::jthread> threads;
    for (int t = 0; t < 2; ++t)
      threads.emplace_back([&] { EXPECT_TRUE(shard.get(key(0), hash_of(key(0)))); });
    threads.clear();
    return met;
  }
};

TEST_F(ShardTest, HitsMeetWhereThePolicyNeedsTheLockSharedOnly) {
  EXPECT_TRUE(hits_meet(evict::HitLock::kShared, std::chrono::minutes(1)));
}

TEST_F(ShardTest, HitsComeOneByOneWhereThePolicyNeedsTheLockExclusively) {
  EXPECT_FALSE(hits_meet(evict::HitLock::kExclusive, std::chrono::milliseconds(30)));
}

}  // namespace
}  // namespace larder::memory
