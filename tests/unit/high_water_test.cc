// How much is cached at most, as the next run finds it noted.
#include "cache/high_water.h"

#include <gtest/gtest.h>

#include "support/sim_disk.h"

namespace larder::cache {
namespace {

class HighWaterTest : public ::testing::Test {
 protected:
  HighWaterTest() { open(); }

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
  HighWater load() { return *HighWater::load(*catalog_, {.bytes = 7, .objects = 3}); }

  testing::SimDisk disk_;
  Registry registry_;
  std::unique_ptr<journal::Store> store_;
  std::unique_ptr<catalog::Catalog> catalog_;
};

TEST_F(HighWaterTest, SaysWhatItIsToldWhereNothingIsNoted) {
  EXPECT_EQ(load().mark().bytes, 7U);
  EXPECT_EQ(load().mark().objects, 3U);
}

TEST_F(HighWaterTest, WhatWasAllowedIsCoveredAfterAPowerLoss) {
  Budget::Amount taken;
  for (int i = 0; i < 200; ++i) {
    HighWater high_water = load();
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
  HighWater high_water = load();
  ASSERT_TRUE(high_water.cover({.bytes = 1000, .objects = 10}));
  const uint64_t steps = disk_.step_count();
  for (uint64_t i = 0; i < 1000; ++i)
    ASSERT_TRUE(high_water.cover({.bytes = 1000 + i * 1000, .objects = 10 + i}));
  EXPECT_EQ(disk_.step_count(), steps);
}

TEST_F(HighWaterTest, ACleanStopLowersIt) {
  HighWater high_water = load();
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
  HighWater high_water = load();
  disk_.crash_at_step(1);
  EXPECT_FALSE(high_water.cover({.bytes = 5000, .objects = 5}));
  EXPECT_EQ(high_water.mark().bytes, 7U);
  EXPECT_TRUE(high_water.cover({.bytes = 7, .objects = 3}));
}

}  // namespace
}  // namespace larder::cache
