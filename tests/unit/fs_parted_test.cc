// An open file is that file, whatever its name leads to by now.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "fs_fixture.h"

namespace larder::fs {
namespace {

using testing::random_text;

class OpenFileTest : public FsTest {
 protected:
  void replace(const std::string& content) {
    source_.put("new", content);
    source_.move("new", "file");
    let_ttl_pass();
  }
  // As the name is looked up by a stranger.
  std::string read_by_name() { return read_path("file"); }
  void mount_over(source::InodeNumbers numbers, const std::string& content) {
    source_.set_inode_numbers(numbers);
    source_.put("file", content);
    mount();
    let_ttl_pass();
  }
  const std::string old_ = random_text(1, 3 * kBlock);
  const std::string new_ = random_text(2, 3 * kBlock);
};

class WhateverTheNumbers : public OpenFileTest,
                           public ::testing::WithParamInterface<source::InodeNumbers> {};

TEST_P(WhateverTheNumbers, AWriterWritesToTheFileItOpened) {
  mount_over(GetParam(), old_);
  const KernelId id = lookup(kRoot, "file").id;
  const OpenReply writer = open(id, O_RDWR);
  EXPECT_EQ(read(writer), old_);
  ASSERT_EQ(fs_->run(files().link(id, kRoot, "kept"))->id.node(), id.node());
  ++lookups_[id.value];
  replace(new_);
  EXPECT_EQ(read_by_name(), new_);
  ASSERT_TRUE(write(writer, "XXXX", kBlock));
  std::string changed = old_;
  changed.replace(kBlock, 4, "XXXX");
  EXPECT_EQ(source_.content("file"), new_);
  EXPECT_EQ(source_.content("kept"), changed);
  EXPECT_EQ(read(writer), changed);
  EXPECT_EQ(read_by_name(), new_);
  ASSERT_TRUE(fs_->run(files().sync(writer.handle, false)));
  ASSERT_TRUE(fs_->run(files().flush(writer.handle)));
  release(writer);
  EXPECT_EQ(read_by_name(), new_);
  fs_->stack.claim();
  forget_all();
  remount();
  EXPECT_EQ(read_by_name(), new_);
}

TEST_P(WhateverTheNumbers, AReaderReadsTheFileItOpened) {
  mount_over(GetParam(), old_);
  auto hold = source_.hold(CallKind::kRead);  // nothing is cached yet
  const KernelId id = lookup(kRoot, "file").id;
  const OpenReply reader = open(id);
  replace(new_);
  hold->release();
  EXPECT_EQ(read_by_name(), new_);
  EXPECT_EQ(read(reader), old_);
  EXPECT_EQ(attributes(id).attributes.size_bytes, old_.size());
  release(reader);
}

TEST_P(WhateverTheNumbers, WhatIsChangedInPlaceIsReadNewByWhoHasItOpen) {
  mount_over(GetParam(), old_);
  const KernelId id = lookup(kRoot, "file").id;
  const OpenReply reader = open(id), writer = open(id, O_RDWR);
  EXPECT_EQ(read(reader), old_);
  source_.overwrite("file", 0, new_);
  let_ttl_pass();
  EXPECT_EQ(read_by_name(), new_);
  EXPECT_EQ(read(reader), new_);
  EXPECT_EQ(read(writer), new_);
  ASSERT_TRUE(write(writer, "here", 5));
  let_ttl_pass();
  EXPECT_EQ(read_by_name(), source_.content("file"));
  release(reader);
  release(writer);
}

// What is cached of a file that has just been changed may be dropped at the next look at it.
TEST_P(WhateverTheNumbers, AFileOpenedRightAfterAChangeStaysThatFile) {
  source_.set_inode_numbers(GetParam());
  source_.put("file", old_);
  mount();
  EXPECT_EQ(read_by_name(), old_);
  const KernelId id = lookup(kRoot, "file").id;
  const OpenReply reader = open(id);
  let_ttl_pass();
  attributes(id);  // dropped
  replace(new_);
  EXPECT_EQ(read_by_name(), new_);
  EXPECT_EQ(read(reader), old_);
  release(reader);
}

// The descriptor that gave too little is not read through any more, but it leads to the file.
TEST_P(WhateverTheNumbers, AFileThatWasCutAndThenReplacedIsReadByWhoHasItOpen) {
  mount_over(GetParam(), old_);
  auto hold = source_.hold(CallKind::kRead);
  const KernelId id = lookup(kRoot, "file").id;
  const OpenReply reader = open(id);
  source_.cut("file", kBlock);
  source_.put("new", new_);
  source_.move("new", "file");
  hold->release();
  fs_->stack.settle();
  EXPECT_TRUE(read(reader, 0, kBlock) == old_.substr(0, kBlock));
  let_ttl_pass();
  EXPECT_TRUE(read_by_name() == new_);
  EXPECT_TRUE(read(reader, 0, kBlock) == old_.substr(0, kBlock));
  release(reader);
}

// chmod, chown, utimens and setxattr of an open file come without its handle.
TEST_P(WhateverTheNumbers, ChangesOfAnOpenFileAreNotMadeToTheOneThatReplacedIt) {
  for (const int flags : {O_RDONLY, O_RDWR}) {
    mount_over(GetParam(), old_);
    const KernelId id = lookup(kRoot, "file").id;
    const OpenReply opened = open(id, flags);
    EXPECT_EQ(read(opened), old_);
    replace(new_);
    if (GetParam() == source::InodeNumbers::kUnreliable) lookup(kRoot, "file");
    const Attributes before = source_.attributes_of("file");
    const auto set = [&](const AttributeChange& change, uint64_t handle = 0) {
      EXPECT_TRUE(fs_->run(files().set_attributes(id, change, handle), id));
    };
    AttributeChange mode, owner, times, size;
    mode.permissions = 0600;
    set(mode);
    owner.uid = 7;
    owner.gid = 8;
    set(owner);
    times.atime = Timestamp{0, 1};
    times.mtime = Timestamp{0, 2};
    set(times);
    size.size_bytes = 1;
    if (flags != O_RDONLY) set(size, opened.handle);
    EXPECT_TRUE(fs_->run(files().set_xattr(id, "user.a", "b", 0, std::nullopt), id));
    EXPECT_EQ(*fs_->run(files().get_xattr(id, "user.a"), id), "b");
    EXPECT_EQ(source_.attributes_of("file"), before);
    EXPECT_EQ(source_.content("file"), new_);
    const Attributes own = attributes(id).attributes;
    EXPECT_EQ(own.mode & 07777, 0600U);
    EXPECT_EQ(own.uid, 7U);
    release(opened);
    EXPECT_FALSE(fs_->run(files().get_xattr(lookup(kRoot, "file").id, "user.a")));
    forget_all();
  }
}

INSTANTIATE_TEST_SUITE_P(Numbers, WhateverTheNumbers,
                         ::testing::Values(source::InodeNumbers::kUnreliable,
                                           source::InodeNumbers::kWhileMounted,
                                           source::InodeNumbers::kStable));

TEST_F(OpenFileTest, WithoutADescriptorAReplacedFileIsNotChangedByName) {
  mount_over(source::InodeNumbers::kStable, old_);
  read_by_name();
  const KernelId id = lookup(kRoot, "file").id;
  const OpenReply opened = open(id);  // resident: nothing is open at the source
  replace(new_);
  const Attributes before = source_.attributes_of("file");
  AttributeChange mode;
  mode.permissions = 0600;
  EXPECT_FALSE(fs_->run(files().set_attributes(id, mode, 0), id));
  EXPECT_FALSE(fs_->run(files().set_xattr(id, "user.a", "b", 0, std::nullopt), id));
  EXPECT_EQ(source_.attributes_of("file"), before);
  EXPECT_EQ(read(opened), old_);
  release(opened);
}

TEST_F(OpenFileTest, WhoHasNoDescriptorReadsWhatWasCached) {
  mount_over(source::InodeNumbers::kUnreliable, old_);
  read_by_name();
  const OpenReply opened = open(lookup(kRoot, "file").id);
  EXPECT_EQ(read(opened), old_);
  replace(new_);
  EXPECT_EQ(read_by_name(), new_);
  EXPECT_EQ(read(opened), old_);
  release(opened);
}

TEST_F(OpenFileTest, AnAppendIsOpenedAsOneAndItsPlaceIsNotBelieved) {
  mount_over(source::InodeNumbers::kUnreliable, "start\n");
  const KernelId id = lookup(kRoot, "file").id;
  const OpenReply writer = open(id, O_WRONLY | O_APPEND);
  // A page of a mapping is written to its place.
  ASSERT_TRUE(write(writer, "START", 0, false));
  EXPECT_EQ(source_.content("file"), "START\n");
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(write(writer, "here\n", 6, O_APPEND));
    source_.overwrite("file", source_.content("file").size(), "there\n");
  }
  EXPECT_EQ(source_.content("file"), "START\nhere\nthere\nhere\nthere\nhere\nthere\n");
  release(writer);
  let_ttl_pass();
  EXPECT_EQ(read_by_name(), source_.content("file"));
}

}  // namespace
}  // namespace larder::fs
