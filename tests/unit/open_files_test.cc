// The limit on descriptors, as cached files live with it.
#include "cache/open_files.h"

#include "cache_fixture.h"

namespace larder::cache {
namespace {

using testing::random_text;
using Use = DescriptorLimit::Use;

class OpenFilesTest : public CachedFileTest {
 protected:
  static constexpr uint64_t kLimit = 8;  // 6 may be held, from 4 on some are closed
  static constexpr size_t kFiles = 12;

  // All read once, and so resident.
  void make_files() {
    testing::StackOptions options;
    options.descriptors = kLimit;
    make(random_text(100, kBlock), options);
    for (size_t i = 0; i < kFiles; ++i) {
      const std::string name = "file" + std::to_string(i);
      source_.put(name, random_text(i, kBlock));
      owners_.push_back(
          std::make_shared<TestOwner>(*stack_, source_, *stack_->catalog->allocate_node(), name));
    }
    for (const auto& owner : owners_) {
      EXPECT_EQ(read_of(owner), source_.content(owner->path()));
      stack_->settle();
      EXPECT_TRUE(owner->file().resident());
      EXPECT_LE(stack_->descriptors->taken(), kLimit / 2 + 1);
    }
  }
  ~OpenFilesTest() override {
    stack_->settle();
    owners_.clear();
  }
  std::string read_of(const std::shared_ptr<TestOwner>& owner) {
    return run(read_task(owner, 0, kBlock)).value_or("failed");
  }
  std::vector<DescriptorLimit::Slot> take_all() {
    std::vector<DescriptorLimit::Slot> slots;
    while (auto slot = stack_->descriptors->take(Use::kReopenable))
      slots.push_back(std::move(*slot));
    return slots;
  }
  void close_all() {
    for (const auto& owner : owners_) owner->file().idle();
    file().idle();
  }

  std::vector<std::shared_ptr<TestOwner>> owners_;
};

TEST_F(OpenFilesTest, ManyOpenFilesShareAFewDescriptors) {
  make_files();
  const uint64_t before = reads();
  for (int round = 0; round < 3; ++round)
    for (const auto& owner : owners_) {
      EXPECT_EQ(read_of(owner), source_.content(owner->path()));
      EXPECT_LE(stack_->descriptors->taken(), kLimit / 2 + 1);
    }
  EXPECT_EQ(reads(), before);  // closed, not dropped
  EXPECT_GT(stack_->metric("larder_descriptors_reclaimed_total"), 0);
}

TEST_F(OpenFilesTest, AFileWithoutUseCostsNone) {
  make_files();
  close_all();
  EXPECT_EQ(stack_->descriptors->taken(), 0U);
  EXPECT_EQ(stack_->open_files->count(), 0U);
}

TEST_F(OpenFilesTest, NoMoreArePinnedThanMayBeHeld) {
  make_files();
  size_t pinned = 0;
  while (pinned < kFiles && owners_[pinned]->file().pin()) ++pinned;
  EXPECT_GE(pinned, kLimit / 2);
  EXPECT_LE(pinned, kLimit - kLimit / 4);
  EXPECT_TRUE(owners_[pinned]->file().pin().error().is(Code::kNoDescriptors));
  for (const auto& owner : owners_)  // the rest is there to read the others with
    EXPECT_EQ(read_of(owner), source_.content(owner->path()));
  EXPECT_LE(stack_->descriptors->taken(), kLimit);
}

TEST_F(OpenFilesTest, AReaderWaitsForADescriptor) {
  make_files();
  close_all();
  auto slots = take_all();
  auto reading = testing::start_on(stack_->reactor(), read_task(owners_[0], 0, kBlock));
  run(read_task(owners_[1], 0, 0));  // a barrier: the reader has come
  slots.pop_back();
  EXPECT_EQ(reading.get().value_or(""), source_.content("file0"));
}

TEST_F(OpenFilesTest, AReaderWhoGetsNoneLosesNothingElse) {
  make_files();
  close_all();
  const uint64_t before = reads();
  {
    const auto slots = take_all();
    const auto text = run(read_task(owners_[0], 0, kBlock));
    ASSERT_FALSE(text);
    EXPECT_TRUE(text.error().is(Code::kNoDescriptors));
  }
  EXPECT_EQ(read_of(owners_[0]), source_.content("file0"));
  EXPECT_EQ(reads(), before);
}

TEST_F(OpenFilesTest, WhatCannotBeStoredGoesRoundTheCache) {
  make_files();
  close_all();
  const auto slots = take_all();
  EXPECT_EQ(read_all(), source_.content("file"));
  stack_->settle();
  EXPECT_EQ(bypassed(), static_cast<int64_t>(kBlock));
  EXPECT_EQ(store_errors(), 0);
  EXPECT_EQ(stack_->residents->used_bytes(), kFiles * kBlock);
}

TEST_F(OpenFilesTest, AFileInUseIsNotClosed) {
  make(random_text(1, 2 * kBlock));
  auto hold = source_.hold(CallKind::kRead);
  auto reading = start_read(0, kBlock);
  hold->wait_for_calls(1);
  EXPECT_FALSE(file().close_for_now());
  hold->release();
  EXPECT_TRUE(reading.get());
  stack_->settle();
  run(file().begin_change(0, kBlock));
  EXPECT_FALSE(file().close_for_now());
  file().end_change(0, kBlock, std::nullopt);
  EXPECT_TRUE(file().close_for_now());
  EXPECT_FALSE(file().close_for_now());  // nothing is open any more
}

TEST_F(OpenFilesTest, TheOnlyWayToAnUnlinkedFileStaysOpen) {
  make(random_text(1, 2 * kBlock));
  EXPECT_EQ(read(0, kBlock).size(), kBlock);
  stack_->settle();
  ASSERT_TRUE(file().source_file());
  file().hold_source(true);
  EXPECT_TRUE(file().close_for_now());  // the object
  EXPECT_TRUE(file().source_file());
  EXPECT_EQ(stack_->open_files->count(), 1U);
  file().hold_source(false);
  EXPECT_TRUE(file().close_for_now());
  EXPECT_FALSE(file().source_file());
  EXPECT_EQ(stack_->open_files->count(), 0U);
}

}  // namespace
}  // namespace larder::cache
