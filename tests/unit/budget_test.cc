// The limits: size with what is not objects, inodes, and what has to stay free of the disk.
#include "cache/budget.h"

#include <gtest/gtest.h>

#include "support/sim_disk.h"

namespace larder::cache {
namespace {

class BudgetTest : public ::testing::Test {
 protected:
  static constexpr uint64_t kMiB = 1 << 20;

  Budget& make(const Limits& limits) {
    budget_ =
        std::make_unique<Budget>(limits, disk_, [this] { return overhead_; }, registry_, clock_);
    return *budget_;
  }
  // Another program takes, or gives back, so much of the disk.
  void occupy(uint64_t bytes) {
    auto file = *disk_.open("other", io::OpenMode::kCreate);
    ASSERT_TRUE(file->truncate(0));
    ASSERT_TRUE(bytes == 0 || file->allocate(0, bytes));
  }

  testing::SimDisk disk_;
  Overhead overhead_;
  Registry registry_;
  ManualClock clock_;
  std::unique_ptr<Budget> budget_;
};

TEST_F(BudgetTest, SizeCountsTheOverheadAndItsNextSteps) {
  Budget& budget = make({.size_bytes = 100});
  overhead_ = {.journal_bytes = 20, .metadata_bytes = 10, .headroom_bytes = 5};
  EXPECT_FALSE(budget.take(66, 1));
  EXPECT_TRUE(budget.take(65, 1));
  EXPECT_FALSE(budget.take(1, 0));
  EXPECT_EQ(budget.object_bytes(), 65U);
  EXPECT_EQ(budget.used_bytes(), 95U);  // the headroom is not used yet
  // The journal grew: so much has to go.
  overhead_.journal_bytes = 30;
  EXPECT_EQ(budget.excess({}, 0).bytes, 10U);
  EXPECT_EQ(budget.excess({.bytes = 3}, 0).bytes, 13U);
  EXPECT_EQ(budget.excess({}, 100).bytes, 10U);  // shares of so small a limit are nothing
  budget.settled(65);
  budget.give_back(10, 0);
  EXPECT_TRUE(budget.excess({}, 0).is_zero());
  EXPECT_FALSE(budget.could_fit(56));
  EXPECT_TRUE(budget.could_fit(55));
}

TEST_F(BudgetTest, MoreThanThereIsCannotGo) {
  Budget& budget = make({.size_bytes = 10});
  overhead_.journal_bytes = 50;
  EXPECT_TRUE(budget.excess({.bytes = 5}, 0).is_zero());
  budget.adopt(7, 1);
  EXPECT_EQ(budget.excess({.bytes = 5}, 0).bytes, 7U);
}

TEST_F(BudgetTest, ObjectsAreLimited) {
  Budget& budget = make({.objects = 2});
  EXPECT_TRUE(budget.take(1, 1));
  EXPECT_TRUE(budget.take(1, 1));
  EXPECT_FALSE(budget.take(1, 1));
  EXPECT_TRUE(budget.take(1, 0));
  EXPECT_EQ(budget.excess({.objects = 1}, 0).objects, 1U);
  budget.give_back(1, 1);
  EXPECT_TRUE(budget.take(1, 1));
  budget.adopt(0, 5);
  EXPECT_EQ(budget.excess({}, 0).objects, 5U);
}

TEST_F(BudgetTest, WhatOthersTakeOfTheDiskCounts) {
  disk_.set_capacity_bytes(100 * kMiB);
  Budget& budget = make({.min_free_bytes = 20 * kMiB});
  occupy(50 * kMiB);
  EXPECT_FALSE(budget.take(31 * kMiB, 1));
  EXPECT_TRUE(budget.take(30 * kMiB, 1));  // not written yet: the disk does not know of it
  EXPECT_FALSE(budget.take(kMiB, 1));
  clock_.advance(std::chrono::minutes(1));
  EXPECT_FALSE(budget.take(kMiB, 1));
  budget.settled(30 * kMiB);
  budget.give_back(30 * kMiB, 1);
  EXPECT_TRUE(budget.take(kMiB, 1));

  occupy(79 * kMiB);
  EXPECT_EQ(budget.excess({}, 0).bytes, 0U);
  occupy(85 * kMiB);
  budget.adopt(10 * kMiB, 1);
  // 15 MiB are free, 1 MiB of them is taken and not written: 6 too few.
  EXPECT_EQ(budget.excess({}, 0).bytes, 6 * kMiB);
  EXPECT_EQ(budget.excess({.bytes = 2 * kMiB}, 0).bytes, 8 * kMiB);
}

TEST_F(BudgetTest, AnAnswerIsUsedForASecond) {
  disk_.set_capacity_bytes(100 * kMiB);
  Budget& budget = make({.min_free_bytes = 20 * kMiB});
  EXPECT_TRUE(budget.take(kMiB, 1));
  budget.settled(kMiB);
  occupy(90 * kMiB);
  EXPECT_TRUE(budget.take(kMiB, 1));  // as far as is known
  clock_.advance(std::chrono::seconds(1));
  EXPECT_FALSE(budget.take(kMiB, 1));
  occupy(0);
  EXPECT_TRUE(budget.take(kMiB, 1));  // a no is not believed without asking
}

// As after a crash, when less is allowed than in the run before.
TEST_F(BudgetTest, WhatIsExpectedCountsWhateverTheLimitsSay) {
  Budget& budget = make({.size_bytes = 100});
  overhead_ = {.journal_bytes = 20};
  EXPECT_EQ(budget.most_objects().bytes, 80U);
  budget.expect({.bytes = 1000, .objects = UINT64_MAX});
  EXPECT_EQ(budget.taken().bytes, 1000U);
  EXPECT_EQ(budget.used_bytes(), 1020U);
  EXPECT_FALSE(budget.take(1, 0));
  budget.adopt_expected(30, 1);
  EXPECT_EQ(budget.taken().bytes, 1000U);
  budget.end_expectation();
  EXPECT_FALSE(budget.expects_more());
  EXPECT_EQ(budget.used_bytes(), 50U);
  EXPECT_TRUE(budget.take(50, 1));
}

TEST_F(BudgetTest, WhatIsExpectedLeavesLessToTheRest) {
  Budget& budget = make({.size_bytes = 100, .objects = 5});
  overhead_ = {.journal_bytes = 20};
  budget.expect({.bytes = 80, .objects = 5});
  budget.adopt_expected(70, 2);
  EXPECT_EQ(budget.taken().bytes, 80U);
  EXPECT_EQ(budget.taken().objects, 5U);
  EXPECT_TRUE(budget.excess({}, 0).is_zero());
  EXPECT_TRUE(budget.excess({}, 100).is_zero()) << "nothing goes ahead of need for it";
  EXPECT_EQ(budget.excess({.bytes = 7, .objects = 1}, 0).bytes, 7U);
  EXPECT_EQ(budget.excess({.bytes = 7, .objects = 1}, 0).objects, 1U);
  EXPECT_TRUE(budget.could_fit(70));
  EXPECT_FALSE(budget.could_fit(71));
}

TEST_F(BudgetTest, WithoutALimitAnythingMayBeExpected) {
  Budget& budget = make({});
  budget.expect({.bytes = UINT64_MAX, .objects = UINT64_MAX});
  EXPECT_TRUE(budget.could_fit(50));
  EXPECT_TRUE(budget.take(50, 1));
  EXPECT_EQ(budget.taken().objects, UINT64_MAX);
  EXPECT_EQ(budget.used_bytes(), UINT64_MAX);
  budget.end_expectation();
  EXPECT_EQ(budget.used_bytes(), 50U);
}

}  // namespace
}  // namespace larder::cache
