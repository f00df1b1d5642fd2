#include "fs/tree_walk.h"

#include <gtest/gtest.h>

#include <set>

namespace larder::fs {
namespace {

std::vector<NodeId> some(uint64_t count) {
  std::vector<NodeId> ids;
  for (uint64_t i = 1; i <= count; ++i) ids.push_back(NodeId{i});
  return ids;
}

TEST(TreeWalk, OneSubdirectoryIsNoWalk) {
  TreeWalk walk(some(10), false);
  EXPECT_TRUE(walk.on_read(NodeId{1}).empty());
}

TEST(TreeWalk, TheSecondOneBeginsItBehindTheWalker) {
  TreeWalk walk(some(10), false);
  walk.on_read(NodeId{1});
  const auto next = walk.on_read(NodeId{2});
  ASSERT_FALSE(next.empty());
  EXPECT_EQ(next.front(), NodeId{3});
}

TEST(TreeWalk, GoesOnIntoWhatWasListedAhead) {
  TreeWalk walk(some(10), true);
  EXPECT_FALSE(walk.on_read(NodeId{1}).empty());
}

TEST(TreeWalk, GivesEachOnceInOrderAndNeverTooFarAhead) {
  const auto all = some(500);
  TreeWalk walk(all, false);
  std::vector<NodeId> given;
  size_t read = 0;
  for (const NodeId id : all) {
    ++read;
    for (const NodeId next : walk.on_read(id)) given.push_back(next);
    EXPECT_LE(given.size(), read + TreeWalk::kAheadMax);
  }
  EXPECT_EQ(given, std::vector<NodeId>(all.begin() + 2, all.end()));
}

TEST(TreeWalk, FollowsAWalkerThatComesInAnotherOrder) {
  const auto all = some(100);
  TreeWalk walk(all, false);
  std::set<uint64_t> given;
  for (auto id = all.rbegin(); id != all.rend(); ++id)
    for (const NodeId next : walk.on_read(*id)) EXPECT_TRUE(given.insert(next.value).second);
  EXPECT_GE(given.size(), all.size() - 2);
}

}  // namespace
}  // namespace larder::fs
