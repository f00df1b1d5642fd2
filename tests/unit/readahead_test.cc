#include "cache/readahead.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "base/random.h"

namespace larder::cache {
namespace {

constexpr uint64_t kRead = 128 << 10;
constexpr uint64_t kMax = 8 << 20;

// What is asked for in a sequential read of the whole file.
std::vector<Readahead::Range> sequential(Readahead& readahead, uint64_t size_bytes,
                                         uint64_t window_max = kMax) {
  std::vector<Readahead::Range> asked;
  for (uint64_t at = 0; at < size_bytes; at += kRead) {
    const Readahead::Range range = readahead.on_read(at, kRead, window_max);
    if (range.length == 0) continue;
    EXPECT_GE(range.offset, at + kRead) << "the read itself is not read ahead";
    EXPECT_LE(range.offset + range.length, at + kRead + window_max);
    asked.push_back(range);
  }
  return asked;
}

TEST(Readahead, ASequentialReaderIsKeptAhead) {
  Readahead readahead;
  const auto asked = sequential(readahead, 64 << 20);
  ASSERT_FALSE(asked.empty());
  // From the first read on, without gaps, each byte once.
  EXPECT_EQ(asked.front().offset, kRead);
  for (size_t i = 1; i < asked.size(); ++i)
    EXPECT_EQ(asked[i].offset, asked[i - 1].offset + asked[i - 1].length);
  EXPECT_GE(asked.back().offset + asked.back().length, uint64_t{64 << 20});
}

TEST(Readahead, TheWindowGrowsToTheLimit) {
  Readahead readahead;
  const auto asked = sequential(readahead, 64 << 20);
  EXPECT_LT(asked.front().length, kMax / 2);
  const auto largest = std::ranges::max(asked, {}, &Readahead::Range::length);
  EXPECT_GE(largest.length, kMax / 2);
  // In steady state it asks about once per half a window.
  EXPECT_LE(asked.size(), size_t{2 * (64 << 20) / kMax + 10});
}

TEST(Readahead, ARandomReaderGetsNothingAhead) {
  Readahead readahead;
  Random random(1);
  uint64_t last_end = 0;
  for (int i = 0; i < 1000; ++i) {
    const uint64_t at = (uint64_t{1} << 30) + random.below(1 << 20) * (4 << 20);
    if (at <= last_end + kMax && at + kMax >= last_end) continue;
    last_end = at + kRead;
    EXPECT_EQ(readahead.on_read(at, kRead, kMax).length, 0U);
  }
}

TEST(Readahead, AJumpClosesTheWindowAndGoingOnOpensItAgain) {
  Readahead readahead;
  sequential(readahead, 16 << 20);
  const uint64_t there = uint64_t{1} << 30;
  EXPECT_EQ(readahead.on_read(there, kRead, kMax).length, 0U);
  const Readahead::Range range = readahead.on_read(there + kRead, kRead, kMax);
  EXPECT_EQ(range.offset, there + 2 * kRead);
  EXPECT_GT(range.length, 0U);
  EXPECT_LT(range.length, kMax / 2);
}

TEST(Readahead, ReadsOfOneReaderOutOfOrderAreSequential) {
  Readahead readahead;
  uint64_t ahead = 0;
  for (uint64_t at = 0; at < 32 << 20; at += 2 * kRead) {
    for (const uint64_t offset : {at + kRead, at}) {
      if (offset == kRead) continue;  // the very first read must be the first of the file
      const auto range = readahead.on_read(offset, kRead, kMax);
      if (range.length != 0) ahead = range.offset + range.length;
    }
  }
  EXPECT_GE(ahead, uint64_t{32 << 20});
}

TEST(Readahead, TheFirstReadElsewhereIsNoSequence) {
  Readahead readahead;
  EXPECT_EQ(readahead.on_read(kRead, kRead, kMax).length, 0U);
}

TEST(Readahead, NoWindowNoReadahead) {
  Readahead readahead;
  EXPECT_TRUE(sequential(readahead, 1 << 20, 0).empty());
}

}  // namespace
}  // namespace larder::cache
