// Objects that were removed while somebody used them: their room counts as long as it is taken.
#include "cache/mapped_objects.h"

#include <algorithm>

#include "cache/audit.h"
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
  // Removed while it is mapped; what ends the mapping.
  std::function<void(bool)> map_and_drop() {
    fill();
    auto use = map();
    file().drop();
    return use;
  }
  size_t objects_on_disk() const {
    const auto paths = disk_.paths();
    return static_cast<size_t>(std::ranges::count_if(paths, [](const std::string& path) {
      return path.starts_with("objects/") && path.size() > sizeof "objects/00";
    }));
  }
};

TEST_F(MappedObjectsTest, ARemovedObjectCountsUntilItIsMappedNoMore) {
  for (const bool is_closed : {false, true}) {
    make_cached();
    int wakes = 0;
    stack_->mapped->set_wake([&] { ++wakes; });
    const auto use = map();
    const size_t objects = objects_on_disk();
    if (is_closed) file().idle();
    file().drop();
    EXPECT_EQ(wakes, 1);
    EXPECT_EQ(gauge(), 1);
    EXPECT_EQ(counted_blocks(), kBlocks);
    fill();  // there is a new object now
    EXPECT_EQ(counted_blocks(), 2 * kBlocks);
    EXPECT_EQ(objects_on_disk(), objects + 1);
    EXPECT_NE(step(), kWhenPoked);
    EXPECT_EQ(counted_blocks(), 2 * kBlocks);
    use(false);
    EXPECT_EQ(step(), kWhenPoked);
    EXPECT_EQ(counted_blocks(), kBlocks);
    EXPECT_EQ(objects_on_disk(), objects);
    EXPECT_EQ(gauge(), 0);
    let_go();
    disk_.process_death();
  }
}

// The reader in passthrough goes first, the mapping later.
TEST_F(MappedObjectsTest, AlsoWhenItWasOpenWhenItWasRemoved) {
  make_cached();
  auto pin = file().pin();
  ASSERT_TRUE(pin);
  const auto use = disk_.use_elsewhere(object::Objects::path(file().object()));
  file().drop();
  EXPECT_EQ(gauge(), 1);
  file().unpin(pin->generation);
  pin->file.reset();
  EXPECT_NE(step(), kWhenPoked);
  EXPECT_EQ(counted_blocks(), kBlocks);
  use(false);
  EXPECT_EQ(step(), kWhenPoked);
  EXPECT_EQ(counted_blocks(), 0U);
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

TEST_F(MappedObjectsTest, ManyAreLookedAtInSteps) {
  constexpr size_t kObjects = MappedObjects::kLooksPerStep + 10;
  make_cached();
  std::vector<std::function<void(bool)>> uses;
  for (size_t i = 0; i < kObjects; ++i) uses.push_back(map_and_drop());
  EXPECT_EQ(gauge(), static_cast<int64_t>(kObjects));
  EXPECT_EQ(step(), kAtOnce);
  EXPECT_NE(step(), kAtOnce);
  for (const auto& use : uses) use(false);
  EXPECT_EQ(step(), kAtOnce);
  EXPECT_EQ(gauge(), 10);
  EXPECT_EQ(step(), kWhenPoked);
  EXPECT_EQ(counted_blocks(), 0U);
  EXPECT_EQ(objects_on_disk(), 0U);
}

// What comes on top counts to the end, so the limit holds.
TEST_F(MappedObjectsTest, AreBounded) {
  constexpr size_t kMax = 3;
  testing::StackOptions options;
  options.mapped_objects_max = kMax;
  make_cached(options);
  std::vector<std::function<void(bool)>> uses;
  for (size_t i = 0; i < kMax + 2; ++i) uses.push_back(map_and_drop());
  EXPECT_EQ(gauge(), static_cast<int64_t>(kMax));
  EXPECT_EQ(objects_on_disk(), kMax);
  EXPECT_EQ(counted_blocks(), (kMax + 2) * kBlocks);
  for (const auto& use : uses) use(false);
  EXPECT_EQ(step(), kWhenPoked);
  EXPECT_EQ(counted_blocks(), 2 * kBlocks);
  map_and_drop();
  EXPECT_EQ(gauge(), 1) << "there is room for another";
}

TEST_F(MappedObjectsTest, CostNoDescriptor) {
  make_cached();
  fill();
  file().drop();
  const uint64_t before = stack_->descriptors->taken();
  std::vector<std::function<void(bool)>> uses;
  for (size_t i = 0; i < 20; ++i) uses.push_back(map_and_drop());
  EXPECT_EQ(stack_->descriptors->taken(), before);
  step();
  EXPECT_EQ(stack_->descriptors->taken(), before);
  EXPECT_EQ(gauge(), 20);
}

// It is told another time.
TEST_F(MappedObjectsTest, WithoutADescriptorTheyAreTakenForUsed) {
  testing::StackOptions options;
  options.descriptors = 4;
  make_cached(options);
  const auto use = map_and_drop();
  use(false);
  std::vector<DescriptorLimit::Slot> others;
  while (auto slot = stack_->descriptors->take(DescriptorLimit::Use::kReopenable))
    others.push_back(std::move(*slot));
  EXPECT_NE(step(), kWhenPoked);
  EXPECT_EQ(counted_blocks(), kBlocks);
  others.clear();
  EXPECT_EQ(step(), kWhenPoked);
  EXPECT_EQ(counted_blocks(), 0U);
}

TEST_F(MappedObjectsTest, WhatCannotBeRemovedCountsAndIsLeftToTheNextMount) {
  make_cached();
  const auto use = map_and_drop();
  use(false);
  disk_.inject({testing::SimOperation::kRemove, Code::kIo, "objects/"});
  EXPECT_EQ(step(), kWhenPoked);
  disk_.clear_faults();
  EXPECT_EQ(counted_blocks(), kBlocks);
  EXPECT_EQ(objects_on_disk(), 1U);
  EXPECT_EQ(*stack_->catalog->number(Audit::kOwedLaterRecord), 1U);
}

TEST_F(MappedObjectsTest, WhatIsUsedAtTheEndIsLeftToTheNextMount) {
  make_cached();
  const auto use = map_and_drop();
  const auto other = map_and_drop();
  other(false);
  stack_->mapped->end();
  EXPECT_EQ(objects_on_disk(), 1U);
  EXPECT_EQ(counted_blocks(), kBlocks);
  EXPECT_EQ(*stack_->catalog->number(Audit::kOwedLaterRecord), 1U);
}

// As the audit may, which does not know of what its file is about to bring.
TEST_F(MappedObjectsTest, OneThatIsKeptIsKeptOnce) {
  make_cached();
  const auto use = map_and_drop();
  std::unordered_set<ObjectId> kept;
  stack_->mapped->add_to(kept);
  ASSERT_EQ(kept.size(), 1U);
  EXPECT_TRUE(stack_->mapped->keep(
      *kept.begin(), ObjectRoom::of_orphan(*stack_->residents, kBlocks * kBlock), nullptr));
  EXPECT_EQ(gauge(), 1);
  EXPECT_EQ(counted_blocks(), kBlocks);
  use(false);
  EXPECT_EQ(step(), kWhenPoked);
  EXPECT_EQ(counted_blocks(), 0U);
}

TEST_F(MappedObjectsTest, WithNothingLeftAtTheEndNoAuditIsOwed) {
  constexpr size_t kObjects = MappedObjects::kLooksPerStep + 10;
  make_cached();
  std::vector<std::function<void(bool)>> uses;
  for (size_t i = 0; i < kObjects; ++i) uses.push_back(map_and_drop());
  EXPECT_EQ(step(), kAtOnce) << "the round is not over";
  for (const auto& use : uses) use(false);
  stack_->mapped->end();
  EXPECT_EQ(objects_on_disk(), 0U);
  EXPECT_FALSE(*stack_->catalog->number(Audit::kOwedLaterRecord));
}

}  // namespace
}  // namespace larder::cache
