// How much is cached at most, as the next run finds it noted.
#include "cache/high_water.h"

#include <gtest/gtest.h>

#include "support/sim_disk.h"

namespace larder::cache {
namespace {

class HighWaterTest : public ::testing::Test {
 protected:
  static constexpr uint64_t kMiB = 1 << 20;

  HighWaterTest() {
    limit({});
    open();
  }

  void open() {
    catalog_.reset();
    store_.reset();
    store_ = *journal::Store::open(disk_, "journal", {}, registry_, Clock::system());
    catalog_ = *catalog::Catalog::open(*store_);
  }
  void die() {
    catalog_.reset();
    store_.reset();
    disk_.power_loss(1);
    open();
  }
  HighWater load(bool is_empty = false) { return *HighWater::load(*catalog_, *budget_, is_empty); }
  void limit(const Limits& limits) {
    budget_.emplace(limits, disk_, [this] { return overhead_; }, registry_, Clock::system());
  }

  testing::SimDisk disk_;
  Registry registry_;
  Overhead overhead_;
  std::optional<Budget> budget_;
  std::unique_ptr<journal::Store> store_;
  std::unique_ptr<catalog::Catalog> catalog_;
};

TEST_F(HighWaterTest, WhereNothingIsNotedItIsWhatTheLimitsLeave) {
  limit({.size_bytes = 100, .objects = 3});
  overhead_.journal_bytes = 40;
  EXPECT_EQ(load().mark().bytes, 60U);
  EXPECT_EQ(load().mark().objects, 3U);
  EXPECT_TRUE(load(true).mark().is_zero());
}

// A kill may come before anything is cached.
TEST_F(HighWaterTest, OfANewCacheItIsNothingAlsoAfterAKill) {
  limit({.size_bytes = 100 * kMiB});
  EXPECT_TRUE(load(true).mark().is_zero());
  disk_.process_death();
  open();
  EXPECT_TRUE(load().mark().is_zero());
}

// So the next run does not reckon with more than there can have been.
TEST_F(HighWaterTest, IsNotAboveWhatTheLimitsLeave) {
  limit({.size_bytes = 100 * kMiB, .objects = 2000});
  overhead_.journal_bytes = 10 * kMiB;
  HighWater high_water = load(true);
  ASSERT_TRUE(high_water.cover({.bytes = 80 * kMiB, .objects = 1000}));
  EXPECT_EQ(high_water.mark().bytes, 90 * kMiB);
  EXPECT_EQ(high_water.mark().objects, 2000U);
  overhead_.journal_bytes = 5 * kMiB;  // the limits leave more now
  ASSERT_TRUE(high_water.cover({.bytes = 91 * kMiB, .objects = 1000}));
  EXPECT_EQ(high_water.mark().bytes, 95 * kMiB);
  // What is there counts whatever they say.
  ASSERT_TRUE(high_water.cover({.bytes = 120 * kMiB, .objects = 3000}));
  EXPECT_EQ(high_water.mark().bytes, 120 * kMiB);
  EXPECT_EQ(high_water.mark().objects, 3000U);
}

// The journal has grown since the mark was set.
TEST_F(HighWaterTest, IsLoweredToWhatTheLimitsLeave) {
  limit({.size_bytes = 100 * kMiB});
  HighWater high_water = load(true);
  ASSERT_TRUE(high_water.cover({.bytes = 95 * kMiB, .objects = 10}));
  ASSERT_EQ(high_water.mark().bytes, 100 * kMiB);
  EXPECT_FALSE(high_water.is_loose());
  overhead_.journal_bytes = 10 * kMiB;
  EXPECT_TRUE(high_water.is_loose());
  high_water.tighten();
  EXPECT_FALSE(high_water.is_loose());
  EXPECT_EQ(high_water.mark().bytes, 90 * kMiB);
  const uint64_t objects = high_water.mark().objects;
  const uint64_t steps = disk_.step_count();
  high_water.tighten();
  EXPECT_EQ(disk_.step_count(), steps) << "nothing has changed";
  die();
  EXPECT_EQ(load().mark().bytes, 90 * kMiB);
  EXPECT_EQ(load().mark().objects, objects);
}

TEST_F(HighWaterTest, IsNotLoweredBelowWhatIsTaken) {
  limit({.size_bytes = 100 * kMiB});
  HighWater high_water = load(true);
  budget_->adopt(95 * kMiB, 10);
  ASSERT_TRUE(high_water.cover(budget_->taken()));
  overhead_.journal_bytes = 10 * kMiB;
  high_water.tighten();
  EXPECT_EQ(high_water.mark().bytes, 95 * kMiB);
  // More than the mark is taken, and its cover not yet asked for.
  budget_->adopt(10 * kMiB, 10);
  high_water.tighten();
  EXPECT_EQ(high_water.mark().bytes, 95 * kMiB);
  ASSERT_TRUE(high_water.cover(budget_->taken()));
  die();
  EXPECT_EQ(load().mark().bytes, 105 * kMiB);
}

TEST_F(HighWaterTest, WhatCannotBeLoweredStaysNoted) {
  limit({.size_bytes = 100 * kMiB});
  {
    HighWater high_water = load(true);
    ASSERT_TRUE(high_water.cover({.bytes = 95 * kMiB, .objects = 10}));
    overhead_.journal_bytes = 10 * kMiB;
    disk_.crash_at_step(1);
    high_water.tighten();
    // It may be noted or not, so more than the lower one must be noted anew.
    EXPECT_FALSE(high_water.cover({.bytes = 91 * kMiB, .objects = 10}));
  }
  die();
  EXPECT_GE(load().mark().bytes, 90 * kMiB);
}

TEST_F(HighWaterTest, ASmallCacheHasSmallSteps) {
  limit({.size_bytes = 64 * kMiB});
  HighWater high_water = load(true);
  ASSERT_TRUE(high_water.cover({.bytes = kMiB, .objects = 1}));
  EXPECT_EQ(high_water.mark().bytes, 5 * kMiB);
}

TEST_F(HighWaterTest, WhatWasAllowedIsCoveredAfterAPowerLoss) {
  Budget::Amount taken;
  for (int i = 0; i < 200; ++i) {
    HighWater high_water = load(true);
    taken.bytes += uint64_t{5} << 20;
    taken.objects += 100;
    ASSERT_TRUE(high_water.cover(taken));
    if (i % 20 != 19) continue;
    die();
    EXPECT_GE(load().mark().bytes, taken.bytes);
    EXPECT_GE(load().mark().objects, taken.objects);
    // But not without bound.
    EXPECT_LE(load().mark().bytes, taken.bytes + (taken.bytes >> 3) + (uint64_t{64} << 20));
    EXPECT_LE(load().mark().objects, taken.objects + (taken.objects >> 3) + 1024);
  }
}

TEST_F(HighWaterTest, WritesOnceAStep) {
  HighWater high_water = load(true);
  ASSERT_TRUE(high_water.cover({.bytes = 1000, .objects = 10}));
  const uint64_t steps = disk_.step_count();
  for (uint64_t i = 0; i < 1000; ++i)
    ASSERT_TRUE(high_water.cover({.bytes = 1000 + i * 1000, .objects = 10 + i}));
  EXPECT_EQ(disk_.step_count(), steps);
}

TEST_F(HighWaterTest, ACleanStopLowersIt) {
  HighWater high_water = load(true);
  ASSERT_TRUE(high_water.cover({.bytes = 5000, .objects = 5}));
  ASSERT_TRUE(high_water.lower({.bytes = 4000, .objects = 4}));
  ASSERT_TRUE(store_->close());
  open();
  EXPECT_EQ(load().mark().bytes, 4000U);
  EXPECT_EQ(load().mark().objects, 4U);
  const uint64_t steps = disk_.step_count();
  ASSERT_TRUE(load().lower({.bytes = 4000, .objects = 4}));
  EXPECT_EQ(disk_.step_count(), steps) << "nothing has changed";
}

TEST_F(HighWaterTest, WhatCannotBeNotedIsNotAllowed) {
  HighWater high_water = load(true);
  disk_.crash_at_step(1);
  EXPECT_FALSE(high_water.cover({.bytes = 5000, .objects = 5}));
  EXPECT_TRUE(high_water.mark().is_zero());
  EXPECT_TRUE(high_water.cover({}));
}

// Whoever would cache something comes here.
TEST_F(HighWaterTest, WhatCannotBeNotedIsSaidOnce) {
  HighWater high_water = load(true);
  disk_.crash_at_step(1);
  ::testing::internal::CaptureStderr();
  for (int i = 0; i < 100; ++i) EXPECT_FALSE(high_water.cover({.bytes = 5000, .objects = 5}));
  const std::string said = ::testing::internal::GetCapturedStderr();
  constexpr std::string_view kMessage = "cannot note how much is cached";
  const size_t first = said.find(kMessage);
  ASSERT_NE(first, said.npos);
  EXPECT_EQ(said.find(kMessage, first + 1), said.npos);
}

}  // namespace
}  // namespace larder::cache
