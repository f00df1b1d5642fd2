#include "base/descriptor_limit.h"

#include <gtest/gtest.h>

#include <vector>

namespace larder {
namespace {

using Use = DescriptorLimit::Use;

TEST(DescriptorLimit, HoldsAndKeepsAShareForReading) {
  Registry registry;
  DescriptorLimit limit(8, registry);
  std::vector<DescriptorLimit::Slot> slots;
  for (int i = 0; i < 6; ++i) {
    EXPECT_TRUE(limit.may_hold());
    slots.push_back(std::move(*limit.take(Use::kHeld)));
  }
  EXPECT_FALSE(limit.may_hold());
  EXPECT_TRUE(limit.take(Use::kHeld).error().is(Code::kNoDescriptors));
  for (int i = 0; i < 2; ++i) slots.push_back(std::move(*limit.take(Use::kReopenable)));
  EXPECT_TRUE(limit.take(Use::kReopenable).error().is(Code::kNoDescriptors));
  EXPECT_EQ(limit.taken(), 8U);  // those refused count no more
  slots.pop_back();
  EXPECT_TRUE(limit.take(Use::kReopenable));
}

TEST(DescriptorLimit, ASlotCountsOnceWhereverItIsMoved) {
  Registry registry;
  auto limit = std::make_unique<DescriptorLimit>(8, registry);
  DescriptorLimit::Slot one = std::move(*limit->take(Use::kHeld));
  DescriptorLimit::Slot other = std::move(one);
  EXPECT_EQ(limit->taken(), 1U);
  one = std::move(*limit->take(Use::kHeld));
  EXPECT_EQ(limit->taken(), 2U);
  other = std::move(one);  // what it was is given back
  EXPECT_EQ(limit->taken(), 1U);
  limit.reset();  // a slot may come back later
}

TEST(DescriptorLimit, HasSomeClosedFromHalfTheLimitOn) {
  Registry registry;
  DescriptorLimit limit(8, registry);
  std::vector<DescriptorLimit::Slot> slots;
  int asked = 0;
  limit.set_reclaim([&] {
    ++asked;
    slots.pop_back();
  });
  for (int i = 0; i < 4; ++i) slots.push_back(std::move(*limit.take(Use::kReopenable)));
  EXPECT_EQ(asked, 0);
  for (int i = 0; i < 100; ++i) slots.push_back(std::move(*limit.take(Use::kReopenable)));
  EXPECT_EQ(asked, 100);
  EXPECT_EQ(limit.taken(), 4U);
}

}  // namespace
}  // namespace larder
