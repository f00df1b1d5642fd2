// Objects that were removed while somebody used them: their room counts as long as it is taken.
#include "cache/mapped_objects.h"

#include "cache_fixture.h"

namespace larder::cache {
namespace {

using testing::random_text;

class MappedObjectsTest : public CachedFileTest {
 protected:
  static constexpr size_t kBlocks = 3;

  void make_cached(const testing::StackOptions& options = {}) {
    make(random_text(1, kBlocks * kBlock), options);
    fill();
  }
  // As a program that maps the file and closes it; what ends the mapping.
  std::function<void(bool)> map() {
    const auto pin = file().pin();
    EXPECT_TRUE(pin);
    auto use = disk_.use_elsewhere(object::Objects::path(file().object()));
    file().unpin(pin->generation);
    return use;
  }
  uint64_t counted_blocks() const { return stack_->residents->used_bytes() / kBlock; }
  int64_t gauge() const { return stack_->metric("larder_mapped_objects"); }
  NextStep step() { return stack_->mapped->step(); }
};

TEST_F(MappedObjectsTest, ARemovedObjectCountsUntilItIsMappedNoMore) {
  for (const bool is_closed : {false, true}) {
    make_cached();
    int wakes = 0;
    stack_->mapped->set_wake([&] { ++wakes; });
    const auto use = map();
    if (is_closed) file().idle();
    file().drop();
    EXPECT_EQ(wakes, 1);
    EXPECT_EQ(gauge(), 1);
    EXPECT_EQ(counted_blocks(), kBlocks);
    fill();  // there is a new object now
    EXPECT_EQ(counted_blocks(), 2 * kBlocks);
    EXPECT_NE(step(), kWhenPoked);
    EXPECT_EQ(counted_blocks(), 2 * kBlocks);
    use(false);
    EXPECT_EQ(step(), kWhenPoked);
    EXPECT_EQ(counted_blocks(), kBlocks);
    EXPECT_EQ(gauge(), 0);
    let_go();
    disk_.process_death();
  }
}

// The reader in passthrough goes first, the mapping later.
TEST_F(MappedObjectsTest, AlsoWhenItWasOpenWhenItWasRemoved) {
  make_cached();
  const auto pin = file().pin();
  ASSERT_TRUE(pin);
  const auto use = disk_.use_elsewhere(object::Objects::path(file().object()));
  file().drop();
  EXPECT_EQ(gauge(), 1);
  file().unpin(pin->generation);
  EXPECT_NE(step(), kWhenPoked);
  EXPECT_EQ(counted_blocks(), kBlocks);
  use(false);
  EXPECT_EQ(step(), kWhenPoked);
  EXPECT_EQ(counted_blocks(), kBlocks) << "the test holds its file still";
}

TEST_F(MappedObjectsTest, WhatNobodyUsesIsNotKept) {
  make_cached();
  const auto use = map();
  use(false);
  file().drop();
  EXPECT_EQ(gauge(), 0);
  EXPECT_EQ(counted_blocks(), 0U);
}

TEST_F(MappedObjectsTest, IsLookedAtLessAndLessOften) {
  make_cached();
  const auto use = map();
  file().drop();
  std::vector<Nanos> pauses;
  for (int i = 0; i < 8; ++i) {
    const NextStep next = step();
    ASSERT_TRUE(next);
    EXPECT_EQ(step(), next) << "who looks besides does not put it off";
    pauses.push_back(*next - clock_.monotonic());
    clock_.advance(pauses.back());
  }
  EXPECT_EQ(pauses.front(), MappedObjects::kFirstPause);
  EXPECT_EQ(pauses[1], 2 * MappedObjects::kFirstPause);
  EXPECT_EQ(pauses.back(), MappedObjects::kLongestPause);
  // With one more it begins anew.
  fill();
  const auto other = map();
  file().drop();
  EXPECT_EQ(*step() - clock_.monotonic(), MappedObjects::kFirstPause);
  use(false);
  EXPECT_NE(step(), kWhenPoked);
  EXPECT_EQ(gauge(), 1);
}

TEST_F(MappedObjectsTest, AreBounded) {
  make_cached();
  std::vector<std::function<void(bool)>> uses;
  for (size_t i = 0; i <= MappedObjects::kMax; ++i) {
    fill();
    uses.push_back(map());
    file().drop();
  }
  EXPECT_EQ(gauge(), static_cast<int64_t>(MappedObjects::kMax));
  EXPECT_EQ(counted_blocks(), MappedObjects::kMax * kBlocks);
  for (const auto& use : uses) use(false);
  EXPECT_EQ(step(), kWhenPoked);
  EXPECT_EQ(counted_blocks(), 0U);
}

TEST_F(MappedObjectsTest, LeaveDescriptorsToOthers) {
  constexpr uint64_t kLimit = 16;
  testing::StackOptions options;
  options.descriptors = kLimit;
  make_cached(options);
  for (uint64_t i = 0; i < kLimit; ++i) {
    fill();
    const auto pin = file().pin();
    if (!pin) break;
    disk_.use_elsewhere(object::Objects::path(file().object()));
    file().unpin(pin->generation);
    file().drop();
  }
  EXPECT_GT(gauge(), 0);
  EXPECT_LT(stack_->descriptors->taken(), kLimit);
  EXPECT_EQ(read_all(), source_.content("file"));
}

}  // namespace
}  // namespace larder::cache
