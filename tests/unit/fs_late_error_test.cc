// What the source took and did not keep is not shown any more once it has said so.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cache/unsynced.h"
#include "fs_fixture.h"

namespace larder::fs {
namespace {

using testing::random_text;

TEST(Unsynced, IsBounded) {
  cache::Unsynced unsynced;
  for (uint64_t i = 0; i <= cache::Unsynced::kRangesMax; ++i) unsynced.add(100 * i, 100 * i + 1);
  EXPECT_THAT(unsynced.take(), ::testing::ElementsAre(cache::Unsynced::Range{0, 1601}));
  EXPECT_TRUE(unsynced.empty());
}

TEST(Unsynced, ASyncTellsOfTheWritesBeforeIt) {
  cache::Unsynced unsynced;
  unsynced.add(0, 10);
  unsynced.add(10, 20);
  const uint64_t begun = unsynced.writes();
  unsynced.add(50, 60);
  unsynced.synced(begun);
  EXPECT_THAT(unsynced.take(), ::testing::SizeIs(2));
  unsynced.add(0, 1);
  unsynced.synced(unsynced.writes());
  EXPECT_TRUE(unsynced.empty());
}

class LateErrorTest : public FsTest {
 protected:
  static constexpr Code kFull = Code::kNoSpace;
  // Opens the file, writes to it, and has the source lose that before it reports `kind`.
  OpenReply write_and_lose(CallKind kind) {
    source_.put("file", content_);
    mount();
    let_ttl_pass();
    read_path("file");
    id_ = lookup(kRoot, "file").id;
    const OpenReply writer = reopen(id_, "file", O_RDWR);
    EXPECT_TRUE(write(writer, std::string(2 * kBlock, 'q'), kBlock));
    EXPECT_EQ(read(writer).substr(kBlock, 2 * kBlock), std::string(2 * kBlock, 'q'));
    kernel().take_invalidated_nodes();
    source_.overwrite("file", kBlock, content_.substr(kBlock, 2 * kBlock));
    source_.fail_next(kind, kFull);
    return writer;
  }
  void expect_taken_back(const OpenReply& writer) {
    EXPECT_EQ(read(writer), content_);
    EXPECT_THAT(kernel().take_invalidated_nodes(), ::testing::Not(::testing::IsEmpty()));
    release(writer);
    let_ttl_pass();
    EXPECT_EQ(read_path("file"), content_);
    fs_->stack.claim();
    forget_all();
    remount();
    EXPECT_EQ(read_path("file"), content_);
    forget_all();
  }
  const std::string content_ = random_text(1, 5 * kBlock);
  KernelId id_;
};

TEST_F(LateErrorTest, OfASync) {
  const OpenReply writer = write_and_lose(CallKind::kSync);
  const auto synced = fs_->run(files().sync(writer.handle, false));
  ASSERT_FALSE(synced);
  EXPECT_TRUE(synced.error().is(kFull));
  expect_taken_back(writer);
}

TEST_F(LateErrorTest, OfAClose) {
  const OpenReply writer = write_and_lose(CallKind::kFlush);
  EXPECT_FALSE(fs_->run(files().flush(writer.handle)));
  expect_taken_back(writer);
}

TEST_F(LateErrorTest, OfTheNextWrite) {
  const OpenReply writer = write_and_lose(CallKind::kWrite);
  EXPECT_FALSE(write(writer, "x", 0));
  expect_taken_back(writer);
}

// A FUSE source finds the end by itself, and what it has there is fetched; from its own pages, as
// long as it believes that it can keep them.
TEST_F(LateErrorTest, OfAnAppend) {
  source_.set_inode_numbers(source::InodeNumbers::kUnreliable);
  source_.put("file", content_);
  mount();
  let_ttl_pass();
  read_path("file");
  id_ = lookup(kRoot, "file").id;
  const OpenReply writer = reopen(id_, "file", O_RDWR | O_APPEND);
  EXPECT_TRUE(write(writer, std::string(kBlock, 'q'), 0, O_APPEND));
  EXPECT_EQ(read(writer).size(), content_.size() + kBlock);
  // The size stays, as on a server that has reserved it.
  source_.overwrite("file", content_.size(), std::string(kBlock, '\0'));
  source_.fail_next(CallKind::kSync, kFull);
  EXPECT_FALSE(fs_->run(files().sync(writer.handle, false)));
  EXPECT_EQ(read(writer), source_.content("file"));
  release(writer);
  forget_all();
}

TEST_F(LateErrorTest, WhatWasSyncedStays) {
  const OpenReply writer = write_and_lose(CallKind::kWrite);
  ASSERT_TRUE(fs_->run(files().sync(writer.handle, false)));
  fs_->stack.settle();
  const uint64_t reads = calls(CallKind::kRead);
  EXPECT_FALSE(write(writer, "x", 0));
  EXPECT_EQ(read(writer, kBlock, 2 * kBlock), std::string(2 * kBlock, 'q'));
  EXPECT_EQ(calls(CallKind::kRead), reads);
  release(writer);
}

TEST_F(LateErrorTest, TheRefusalOfAWriteSaysNothingOfThoseBefore) {
  const OpenReply writer = write_and_lose(CallKind::kProbe);
  source_.fail_next(CallKind::kWrite, static_cast<Code>(EFBIG));
  fs_->stack.settle();
  const uint64_t reads = calls(CallKind::kRead);
  EXPECT_FALSE(write(writer, "x", 0));
  EXPECT_EQ(read(writer, kBlock, 2 * kBlock), std::string(2 * kBlock, 'q'));
  EXPECT_EQ(calls(CallKind::kRead), reads);
  release(writer);
}

TEST_F(LateErrorTest, WhatIsNeitherSyncedNorClosedIsNotBelievedByTheNextRun) {
  [[maybe_unused]] const OpenReply killed = write_and_lose(CallKind::kProbe);
  try_attributes(id_);  // has the version looked at
  let_ttl_pass();
  try_attributes(id_);
  fs_->stack.claim();
  fs_.reset();  // killed
  mount(coherence_, options_);
  EXPECT_EQ(read_path("file"), content_);
  forget_all();
}

}  // namespace
}  // namespace larder::fs
