#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstring>
#include <latch>
#include <thread>
#include <vector>

#include "base/random.h"
#include "buffer/pool.h"

namespace larder::buffer {
namespace {

constexpr size_t kMiB = 1 << 20;

TEST(Pool, GivesPageAlignedBuffersOfTheNextPowerOfTwo) {
  Pool pool(8 * kMiB);
  for (const size_t asked :
       {size_t{1}, Pool::kSizeMin, Pool::kSizeMin + 1, size_t{100'000}, Pool::kSizeMax}) {
    const BufferRef buffer = pool.allocate(asked);
    ASSERT_TRUE(buffer);
    EXPECT_EQ(buffer.bytes().size(), std::max(std::bit_ceil(asked), Pool::kSizeMin));
    EXPECT_EQ(reinterpret_cast<uintptr_t>(buffer.bytes().data()) % Pool::kSizeMin, 0u);
    EXPECT_EQ(buffer.size(), 0u);
    std::memset(buffer.bytes().data(), 0xab, buffer.bytes().size());
  }
  EXPECT_EQ(pool.in_use_bytes(), 0u);
}

TEST(Pool, BuffersDoNotOverlap) {
  Pool pool(4 * kMiB);
  std::vector<BufferRef> buffers;
  for (size_t size = Pool::kSizeMin; size <= Pool::kSizeMax; size *= 2)
    for (int i = 0; i < 2; ++i) buffers.push_back(pool.allocate(size));
  for (size_t i = 0; i < buffers.size(); ++i) {
    ASSERT_TRUE(buffers[i]);
    std::memset(buffers[i].bytes().data(), static_cast<int>(i), buffers[i].bytes().size());
  }
  for (size_t i = 0; i < buffers.size(); ++i)
    for (const std::byte byte : buffers[i].bytes()) ASSERT_EQ(byte, static_cast<std::byte>(i));
}

TEST(Pool, CountsWhatIsInUseAndRefusesBeyondTheLimit) {
  Pool pool(3 * Pool::kSizeMin);
  BufferRef one = pool.allocate(1);
  const BufferRef two = pool.allocate(Pool::kSizeMin + 1);
  ASSERT_TRUE(one);
  ASSERT_TRUE(two);
  EXPECT_EQ(pool.in_use_bytes(), pool.limit_bytes());
  EXPECT_FALSE(pool.allocate(1));
  EXPECT_EQ(pool.in_use_bytes(), pool.limit_bytes());
  one = BufferRef();
  EXPECT_EQ(pool.in_use_bytes(), two.bytes().size());
  EXPECT_FALSE(pool.allocate(Pool::kSizeMin + 1));
  EXPECT_TRUE(pool.allocate(Pool::kSizeMin));
}

TEST(Pool, ReusesAFreeBufferBeforeAskingForMemory) {
  Pool pool(8 * kMiB);
  const std::byte* first = pool.allocate(Pool::kSizeMin).bytes().data();
  const size_t free_bytes = pool.free_bytes();
  EXPECT_GT(free_bytes, 0u);
  const BufferRef again = pool.allocate(Pool::kSizeMin);
  EXPECT_EQ(again.bytes().data(), first);
  EXPECT_EQ(pool.free_bytes(), free_bytes - Pool::kSizeMin);
}

TEST(Pool, FreeMemoryOfOneClassServesAnother) {
  Pool pool(4 * kMiB);
  for (const size_t size : {Pool::kSizeMax, Pool::kSizeMin, Pool::kSizeMax / 2}) {
    std::vector<BufferRef> buffers;
    while (BufferRef buffer = pool.allocate(size)) buffers.push_back(std::move(buffer));
    EXPECT_EQ(pool.in_use_bytes(), pool.limit_bytes());
    buffers.clear();
    // Beside the limit, one free slab per class stays with the shard.
    EXPECT_LE(pool.free_bytes(), pool.limit_bytes() + 3 * Pool::kSizeMax);
  }
}

TEST(Pool, AThreadUsesWhatOthersFreedBeforeThePoolOutgrowsItsLimit) {
  Pool pool(4 * kMiB);
  std::vector<BufferRef> buffers;
  while (BufferRef buffer = pool.allocate(Pool::kSizeMin)) buffers.push_back(std::move(buffer));
  for (size_t i = 0; i < buffers.size(); i += 2) buffers[i] = BufferRef();
  std::jthread([&] {
    for (size_t i = 0; i < buffers.size(); i += 2) buffers[i] = pool.allocate(Pool::kSizeMin);
  }).join();
  EXPECT_EQ(pool.in_use_bytes(), pool.limit_bytes());
  EXPECT_EQ(pool.free_bytes(), 0u);
}

TEST(Pool, TrimGivesBackWhatIsWhollyFree) {
  Pool pool(8 * kMiB);
  std::vector<BufferRef> buffers;
  while (BufferRef buffer = pool.allocate(Pool::kSizeMin)) buffers.push_back(std::move(buffer));
  std::memset(buffers.front().bytes().data(), 0x5a, Pool::kSizeMin);
  buffers.resize(1);
  const size_t free_before = pool.free_bytes();
  const size_t given = pool.trim();
  EXPECT_EQ(given, free_before - pool.free_bytes());
  EXPECT_LT(pool.free_bytes(), Pool::kSizeMax);
  EXPECT_EQ(buffers.front().bytes().back(), std::byte{0x5a});
  buffers.clear();
  pool.trim();
  EXPECT_EQ(pool.free_bytes(), 0u);
  EXPECT_TRUE(pool.allocate(Pool::kSizeMin));
}

TEST(BufferRef, SharesTheBufferUntilTheLastOneGoes) {
  Pool pool(kMiB);
  BufferRef first = pool.allocate(1);
  first.set_size(7);
  BufferRef copy = first;
  BufferRef moved = std::move(first);
  EXPECT_FALSE(first);  // NOLINT(bugprone-use-after-move): moved-from is empty by contract
  EXPECT_EQ(copy.data().data(), moved.data().data());
  EXPECT_EQ(copy.size(), 7u);
  const BufferRef& alias = copy;
  copy = alias;
  EXPECT_TRUE(copy);
  copy = BufferRef();
  EXPECT_EQ(pool.in_use_bytes(), Pool::kSizeMin);
  moved = pool.allocate(Pool::kSizeMin * 2);
  EXPECT_EQ(pool.in_use_bytes(), Pool::kSizeMin * 2);
}

TEST(PoolDeathTest, BuffersMustNotOutliveThePool) {
  EXPECT_DEATH(
      {
        BufferRef buffer;
        Pool pool(kMiB);
        buffer = pool.allocate(1);
      },
      "outlives");
}

TEST(Pool, ThreadsShareItWithinTheLimit) {
  constexpr int kThreads = 4;
  Pool pool(2 * kMiB);
  std::latch start(kThreads);
  std::atomic<int> failures{0};
  std::vector<std::jthread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      Random random(static_cast<uint64_t>(t));
      std::vector<BufferRef> held(16);
      start.arrive_and_wait();
      for (int i = 0; i < 5000; ++i) {
        BufferRef& slot = held[random.below(held.size())];
        if (slot && slot.bytes()[0] != static_cast<std::byte>(t)) ++failures;
        slot = pool.allocate(Pool::kSizeMin << random.below(9));
        if (slot) slot.bytes()[0] = static_cast<std::byte>(t);
        if (pool.in_use_bytes() > pool.limit_bytes()) ++failures;
        if (i % 1000 == 0) pool.trim();
      }
    });
  }
  threads.clear();
  EXPECT_EQ(failures.load(), 0);
  EXPECT_EQ(pool.in_use_bytes(), 0u);
}

}  // namespace
}  // namespace larder::buffer
