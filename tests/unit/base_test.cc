#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include "base/check.h"
#include "base/checksum.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/failpoint.h"
#include "base/ids.h"
#include "base/metrics.h"
#include "base/repeat_limit.h"
#include "base/timestamp.h"

namespace larder {
namespace {

Result<int> half(int n) {
  if (n % 2 != 0) return fail(Code::kInvalid, "odd");
  return n / 2;
}

Result<int> quarter(int n) {
  TRY_ASSIGN(const int once, half(n));
  return half(once);
}

TEST(Error, TryPassesTheFirstErrorOn) {
  EXPECT_EQ(*quarter(8), 2);
  const auto result = quarter(6);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code(), Code::kInvalid);
  EXPECT_EQ(result.error().message(), "odd: Invalid argument");
}

TEST(Error, OwnCodesHaveWords) {
  EXPECT_EQ(Error(Code::kCorrupt, "superblock").message(),
            "superblock: stored bytes do not verify");
}

TEST(TimestampTest, RoundsTheSecondDown) {
  using std::chrono::nanoseconds;
  EXPECT_EQ(Timestamp::of(nanoseconds(0)), Timestamp{});
  EXPECT_EQ(Timestamp::of(nanoseconds(1'500'000'000)), (Timestamp{1, 500'000'000}));
  EXPECT_EQ(Timestamp::of(nanoseconds(-1)), (Timestamp{-1, 999'999'999}));
  EXPECT_EQ(Timestamp::of(nanoseconds(-1'000'000'000)), (Timestamp{-1, 0}));
  EXPECT_EQ(Timestamp::of(nanoseconds(-1'000'000'001)), (Timestamp{-2, 999'999'999}));
  EXPECT_EQ(Timestamp::of(nanoseconds::min()), (Timestamp{-9'223'372'037, 145'224'192}));
}

TEST(TimestampTest, IsTheTimespecItWasMadeOf) {
  // 1600, a tick before 1970, 2300, the end of the year 9999, and the furthest there is.
  for (const int64_t seconds : {int64_t{-11'676'096'000}, int64_t{-1}, int64_t{10'413'792'000},
                                int64_t{253'402'300'799}, INT64_MIN, INT64_MAX}) {
    const timespec time{.tv_sec = seconds, .tv_nsec = 999'999'999};
    const timespec back = Timestamp::of(time).timespec();
    EXPECT_EQ(back.tv_sec, time.tv_sec);
    EXPECT_EQ(back.tv_nsec, time.tv_nsec);
  }
}

TEST(TimestampTest, IsOrderedAsTimeIs) {
  EXPECT_LT((Timestamp{-2, 999'999'999}), (Timestamp{-1, 0}));
  EXPECT_LT((Timestamp{-1, 0}), (Timestamp{-1, 1}));
  EXPECT_LT((Timestamp{INT64_MIN, 0}), (Timestamp{INT64_MAX, 0}));
}

TEST(CheckDeathTest, NamesTheBrokenCondition) {
  EXPECT_DEATH(CHECK_MSG(1 + 1 == 3, "sum"), "1 \\+ 1 == 3: sum");
}

TEST(Checksum, IsStableAcrossBuilds) {
  // A changed value would make every cache directory unreadable.
  EXPECT_EQ(hash64(std::string_view("larder")), hash64(std::string_view("larder")));
  EXPECT_NE(hash64(std::string_view("larder")), hash64(std::string_view("larder"), 1));
  EXPECT_EQ(hash64(std::string_view("")), 0x2d06800538d394c2ULL);
}

TEST(Failpoint, FailsOnlyWhileArmed) {
  EXPECT_FALSE(failpoint::hit("base.test"));
  int hits = 0;
  failpoint::arm("base.test", [&] { return ++hits == 2; });
  EXPECT_FALSE(failpoint::hit("base.test"));
  EXPECT_TRUE(failpoint::hit("base.test"));
  EXPECT_FALSE(failpoint::hit("base.other"));
  failpoint::disarm("base.test");
  EXPECT_FALSE(failpoint::hit("base.test"));
  EXPECT_EQ(hits, 2);
}

TEST(Metrics, CounterSumsAllThreads) {
  Counter counter;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&] {
      for (int i = 0; i < 10'000; ++i) counter.add();
    });
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(counter.value(), 40'000u);
}

TEST(Metrics, QuantilesAreWithinABucket) {
  Histogram histogram;
  for (int i = 1; i <= 1000; ++i) histogram.record(std::chrono::microseconds(i));
  EXPECT_EQ(histogram.count(), 1000u);
  EXPECT_NEAR(static_cast<double>(histogram.quantile(0.5).count()), 500e3, 500e3 * 0.25);
  EXPECT_NEAR(static_cast<double>(histogram.quantile(0.99).count()), 990e3, 990e3 * 0.25);
  EXPECT_EQ(Histogram().quantile(0.5), Nanos(0));
}

TEST(Metrics, BucketLimitsGrowAndCoverTheirDurations) {
  for (size_t i = 1; i < Histogram::kBuckets; ++i)
    EXPECT_LT(Histogram::bucket_limit(i - 1), Histogram::bucket_limit(i));
  for (int64_t ns : {0, 1, 3, 4, 5, 7, 8, 1000, 123456789}) {
    Histogram histogram;
    histogram.record(Nanos(ns));
    EXPECT_GE(histogram.quantile(1).count(), ns);
    EXPECT_LE(histogram.quantile(1).count(), ns + ns / 4 + 1);
  }
}

TEST(Metrics, RegistryGivesTheSameMetricForTheSameName) {
  Registry registry;
  Counter& memory = registry.counter("larder_hits_total", "Hits.", {{"tier", "memory"}});
  Counter& disk = registry.counter("larder_hits_total", "Hits.", {{"tier", "disk"}});
  EXPECT_NE(&memory, &disk);
  EXPECT_EQ(&memory, &registry.counter("larder_hits_total", "Hits.", {{"tier", "memory"}}));
  EXPECT_EQ(registry.entries().size(), 2u);
}

TEST(RepeatLimit, NamesEachSubjectOnceInAnInterval) {
  ManualClock clock;
  RepeatLimit limit({.interval = std::chrono::seconds(60), .subjects_max = 3}, clock);
  EXPECT_EQ(limit.admit("write", 1), 0u);
  for (int i = 0; i < 3000; ++i) EXPECT_FALSE(limit.admit("write", 1));
  EXPECT_EQ(limit.admit("write", 2), 3000u) << "another file is named, and what was left out";
  EXPECT_EQ(limit.admit("read", 1), 0u) << "another kind is none of its business";
  clock.advance(std::chrono::seconds(59));
  EXPECT_FALSE(limit.admit("write", 1));
  clock.advance(std::chrono::seconds(1));
  EXPECT_EQ(limit.admit("write", 1), 1u);
}

TEST(RepeatLimit, NamesAFewSubjectsOfAKind) {
  ManualClock clock;
  RepeatLimit limit({.interval = std::chrono::seconds(60), .subjects_max = 3}, clock);
  int named = 0;
  for (uint64_t file = 0; file < 100'000; ++file) named += limit.admit("write", file).has_value();
  EXPECT_EQ(named, 3);
  const auto left_out = limit.take_left_out();
  ASSERT_EQ(left_out.size(), 1u);
  EXPECT_EQ(left_out[0].first, "write");
  EXPECT_EQ(left_out[0].second, 99'997u);
  EXPECT_TRUE(limit.take_left_out().empty());
  clock.advance(std::chrono::seconds(60));
  EXPECT_EQ(limit.admit("write", 7), 0u);
}

TEST(Clock, ManualClockMovesOnlyWhenTold) {
  ManualClock clock;
  const Nanos before = clock.monotonic();
  EXPECT_EQ(clock.monotonic(), before);
  clock.advance(std::chrono::seconds(2));
  EXPECT_EQ(clock.monotonic() - before, std::chrono::seconds(2));
}

}  // namespace
}  // namespace larder
