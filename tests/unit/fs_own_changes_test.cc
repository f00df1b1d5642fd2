// Changes made here and elsewhere to one file: what others have made is not taken for our own.
#include <fcntl.h>
#include <gtest/gtest.h>

#include <thread>

#include "fs_fixture.h"

namespace larder::fs {
namespace {

using testing::random_text;

class OwnChanges : public FsTest, public ::testing::WithParamInterface<source::InodeNumbers> {
 protected:
  void SetUp() override {
    source_.set_inode_numbers(GetParam());
    source_.put("file", random_text(1, 3 * kBlock));
    mount();
    let_ttl_pass();
    ASSERT_TRUE(read_path("file") == source_.content("file"));
  }
  // By others: the size stays.
  void change_outside() { source_.overwrite("file", 0, random_text(2, kBlock)); }
  void pause() { clock_.advance(std::chrono::milliseconds(30)); }
  // Looks as long as a busy machine may need for it.
  ::testing::AssertionResult is_asked_about_since(uint64_t calls) {
    constexpr int kLooksMax = 2000;
    for (int i = 0; i < kLooksMax; ++i) {
      if (source_.calls(CallKind::kAttributes) > calls) {
        fs_->stack.settle();
        return ::testing::AssertionSuccess();
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return ::testing::AssertionFailure() << "nobody asks";
  }
  void expect_all_see_the_source(const OpenReply& opened) {
    let_ttl_pass();
    EXPECT_TRUE(read_path("file") == source_.content("file"));
    EXPECT_TRUE(read(opened) == source_.content("file"));
  }
};

TEST_P(OwnChanges, WhatOthersChangedBeforeAWriteIsNoticed) {
  const OpenReply opened = open(lookup(kRoot, "file").id, O_RDWR);
  pause();
  change_outside();
  ASSERT_TRUE(write(opened, "ours", 2 * kBlock));
  expect_all_see_the_source(opened);
  release(opened);
}

TEST_P(OwnChanges, WhatOthersChangedBeforeTheSizeIsSetIsNoticed) {
  const KernelId id = lookup(kRoot, "file").id;
  const OpenReply opened = open(id, O_RDWR);
  AttributeChange change;
  for (const uint64_t handle : {opened.handle, uint64_t{0}}) {
    pause();
    change_outside();
    change.size_bytes = change.size_bytes ? 5 * kBlock : 2 * kBlock;
    ASSERT_TRUE(fs_->run(files().set_attributes(id, change, handle), id));
    expect_all_see_the_source(opened);
  }
  release(opened);
}

TEST_P(OwnChanges, WhatOthersChangeAMomentAfterAWriteIsNoticed) {
  const OpenReply opened = open(lookup(kRoot, "file").id, O_RDWR);
  const uint64_t calls = source_.calls(CallKind::kAttributes);
  ASSERT_TRUE(write(opened, "ours", 2 * kBlock));
  ASSERT_TRUE(is_asked_about_since(calls));
  change_outside();
  expect_all_see_the_source(opened);
  release(opened);
}

TEST_P(OwnChanges, ManyWritesAreNotOneQuestionEach) {
  const OpenReply opened = open(lookup(kRoot, "file").id, O_RDWR);
  pause();
  const uint64_t calls = source_.calls(CallKind::kAttributes);
  constexpr int kWrites = 100;
  for (int i = 0; i < kWrites; ++i) ASSERT_TRUE(write(opened, "ours", 7 * i));
  // A busy machine may make pauses between them.
  EXPECT_LT(source_.calls(CallKind::kAttributes) - calls, kWrites / 2);
  expect_all_see_the_source(opened);
  release(opened);
}

INSTANTIATE_TEST_SUITE_P(Numbers, OwnChanges,
                         ::testing::Values(source::InodeNumbers::kUnreliable,
                                           source::InodeNumbers::kWhileMounted,
                                           source::InodeNumbers::kStable));

}  // namespace
}  // namespace larder::fs
