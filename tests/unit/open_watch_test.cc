#include "fs/open_watch.h"

#include <gtest/gtest.h>

namespace larder::fs {
namespace {

using namespace std::chrono_literals;

TEST(OpenWatchTest, WithNothingOpenThereIsNothingToWaitFor) {
  Registry registry;
  OpenWatch watch(registry);
  int wakes = 0;
  watch.set_wake([&] { ++wakes; });
  EXPECT_EQ(watch.next(), cache::kWhenPoked);
  watch.add(NodeId{1}, 5s);
  EXPECT_EQ(wakes, 1);
  watch.add(NodeId{2}, 6s);  // not before the other
  EXPECT_EQ(wakes, 1);
  EXPECT_EQ(watch.next(), cache::NextStep(5s));
  EXPECT_TRUE(watch.take_due(4s).empty());
  const auto due = watch.take_due(5s);
  ASSERT_EQ(due.size(), 1U);
  EXPECT_EQ(due[0].node, NodeId{1});
  watch.give_back(due[0], 10s);
  EXPECT_EQ(watch.next(), cache::NextStep(6s));
  for (const OpenWatch::Turn& turn : watch.take_due(10s)) {
    EXPECT_NE(turn.ticket, 0U);
    watch.forget();
  }
  EXPECT_EQ(watch.next(), cache::kWhenPoked);
}

TEST(OpenWatchTest, SoManyAreAskedAboutAtATime) {
  Registry registry;
  OpenWatch watch(registry);
  int wakes = 0;
  watch.set_wake([&] { ++wakes; });
  for (uint64_t i = 0; i < OpenWatch::kAskedMax + 2; ++i) watch.add(NodeId{i + 1}, 1s);
  const auto due = watch.take_due(1s);
  EXPECT_EQ(due.size(), OpenWatch::kAskedMax);
  EXPECT_EQ(watch.next(), cache::kWhenPoked);
  EXPECT_TRUE(watch.take_due(1s).empty());
  wakes = 0;
  watch.give_back(due[0], 2s);
  EXPECT_EQ(wakes, 1);
  EXPECT_EQ(watch.take_due(1s).size(), 1U);
  watch.forget();
  EXPECT_EQ(wakes, 2);
  EXPECT_EQ(watch.take_due(1s).size(), 1U);
}

}  // namespace
}  // namespace larder::fs
