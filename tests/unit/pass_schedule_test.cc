// When a pass over the whole cache may run: its period, requests, and whether the mount is in use.
#include "cache/pass_schedule.h"

#include <gtest/gtest.h>

#include "support/sim_disk.h"

namespace larder::cache {
namespace {

using std::chrono::hours;
using std::chrono::minutes;
using std::chrono::seconds;

TEST(ActivityTest, IsInUseUntilAMinuteHasPassedWithoutARequest) {
  ManualClock clock;
  Activity activity(clock);
  int returns = 0;
  activity.on_return([&] { ++returns; });
  EXPECT_TRUE(activity.lately());
  clock.advance(seconds(50));
  activity.note();
  EXPECT_TRUE(activity.lately());
  clock.advance(seconds(59));
  EXPECT_TRUE(activity.lately());
  clock.advance(seconds(1));
  EXPECT_EQ(returns, 0);
  EXPECT_FALSE(activity.lately());
  clock.advance(hours(5));
  EXPECT_FALSE(activity.lately());
  activity.note();
  activity.note();
  EXPECT_EQ(returns, 1) << "once, when it comes into use again";
  EXPECT_TRUE(activity.lately());
}

TEST(ActivityTest, NobodyIsCalledWhoDidNotAsk) {
  ManualClock clock;
  Activity activity(clock);
  int returns = 0;
  activity.on_return([&] { ++returns; });
  clock.advance(hours(5));
  activity.note();
  EXPECT_EQ(returns, 0);
}

class PassScheduleTest : public ::testing::Test {
 protected:
  static constexpr Nanos kPeriod = hours(24);

  PassScheduleTest() { open(); }
  void open() {
    schedule_.reset();
    catalog_.reset();
    store_ = std::move(*journal::Store::open(disk_, "", {}, registry_, clock_));
    catalog_ = std::move(*catalog::Catalog::open(*store_));
    schedule_ = std::make_unique<PassSchedule>(*catalog_, "test", kPeriod, activity_, clock_);
  }
  void run_pass() {
    ASSERT_TRUE(schedule_->may_run());
    schedule_->begin();
    end_pass();
  }
  void end_pass() {
    catalog::Batch batch;
    schedule_->remember_end(batch);
    ASSERT_TRUE(catalog_->apply(batch));
    schedule_->end();
  }
  void let_pass_in_use(Nanos time) {
    clock_.advance(time);
    activity_.note();
  }

  testing::SimDisk disk_;
  Registry registry_;
  ManualClock clock_;
  Activity activity_{clock_};
  std::unique_ptr<journal::Store> store_;
  std::unique_ptr<catalog::Catalog> catalog_;
  std::unique_ptr<PassSchedule> schedule_;
};

TEST_F(PassScheduleTest, APassBeginsOncePerPeriodAlsoOverMounts) {
  run_pass();
  EXPECT_FALSE(schedule_->may_run());
  EXPECT_EQ(schedule_->ask_again(), clock_.monotonic() + kPeriod);
  let_pass_in_use(hours(10));
  open();
  EXPECT_FALSE(schedule_->may_run());
  EXPECT_EQ(schedule_->ask_again(), clock_.monotonic() + hours(14));
  let_pass_in_use(hours(14));
  run_pass();
}

TEST_F(PassScheduleTest, APassRestsWhileTheMountIsIdle) {
  ASSERT_TRUE(schedule_->may_run());
  schedule_->begin();
  clock_.advance(minutes(2));
  EXPECT_FALSE(schedule_->may_run());
  EXPECT_EQ(schedule_->ask_again(), kWhenPoked) << "no timer";
  activity_.note();
  EXPECT_TRUE(schedule_->may_run());
}

TEST_F(PassScheduleTest, WhatIsAskedForBeginsAtOnceAndDoesNotRest) {
  run_pass();
  clock_.advance(minutes(2));
  const uint64_t request = schedule_->request();
  ASSERT_TRUE(schedule_->may_run());
  schedule_->begin();
  const uint64_t later = schedule_->request();
  clock_.advance(minutes(2));
  EXPECT_TRUE(schedule_->is_awaited());
  EXPECT_TRUE(schedule_->may_run());
  end_pass();
  EXPECT_EQ(schedule_->answered(), request);
  EXPECT_TRUE(schedule_->may_run()) << "the later one had begun before it was asked for";
  schedule_->begin();
  end_pass();
  EXPECT_EQ(schedule_->answered(), later);
  EXPECT_FALSE(schedule_->may_run());
}

TEST_F(PassScheduleTest, AnUrgentPassWaitsForNothing) {
  run_pass();
  clock_.advance(minutes(2));
  schedule_->make_urgent();
  run_pass();
  EXPECT_FALSE(schedule_->may_run());
}

TEST_F(PassScheduleTest, AClockThatWasSetBackDoesNotPutThePassOff) {
  let_pass_in_use(hours(10));
  run_pass();
  const ManualClock behind;  // ten hours
  Activity activity(behind);
  PassSchedule schedule(*catalog_, "test", kPeriod, activity, behind);
  EXPECT_TRUE(schedule.may_run());
}

}  // namespace
}  // namespace larder::cache
