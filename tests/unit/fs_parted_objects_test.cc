// What the kernel reads by itself while the name leads elsewhere, or may do so.
#include <fcntl.h>
#include <gtest/gtest.h>

#include <thread>

#include "fs_passthrough_fixture.h"

namespace larder::fs {
namespace {

using testing::random_text;

class PartedObject : public FsPassthroughTest {
 protected:
  PartedObject() { source_.set_inode_numbers(source::InodeNumbers::kUnreliable); }

  // Opened in passthrough, and so long ago that larder has a descriptor for those who have it open.
  OpenReply keep_open() {
    const OpenReply reader = open_resident();
    const uint64_t opened = source_.calls(CallKind::kOpen);
    // Not by the clock of the test: the reactor sleeps.
    while (source_.calls(CallKind::kOpen) == opened)
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    settle_all();
    return reader;
  }
  // As the kernel reads it.
  std::string read_backing(const OpenReply& open) {
    std::string bytes(1 << 20, ' ');
    const ssize_t got = pread(kernel().backing(open.backing_id), bytes.data(), bytes.size(), 0);
    EXPECT_GE(got, 0);
    bytes.resize(static_cast<size_t>(std::max<ssize_t>(got, 0)));
    return bytes;
  }
  // What is under way may take a while on a busy machine.
  ::testing::AssertionResult comes(const OpenReply& open, const std::string& content) {
    constexpr int kLooksMax = 2000;
    for (int i = 0; i < kLooksMax; ++i) {
      if (read_backing(open) == content) return ::testing::AssertionSuccess();
      settle_all();
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return ::testing::AssertionFailure() << "it stays as it was";
  }
  void look() {
    let_ttl_pass();
    files().watch_step();
    settle_all();
  }
};

TEST_F(PartedObject, TakesOnWhatIsWrittenIntoItsFile) {
  const OpenReply reader = keep_open();
  const KernelId id = lookup(kRoot, "file").id;
  std::string content = source_.content("file");
  look();
  EXPECT_TRUE(read_backing(reader) == content);
  for (const size_t size : {content.size() + 100, 40 * kBlock + 7, kBlock + 1}) {
    content = random_text(size, size);
    source_.cut("file", std::min<uint64_t>(size, source_.content("file").size()));
    source_.overwrite("file", 0, content);
    look();
    EXPECT_TRUE(comes(reader, content)) << size;
    EXPECT_EQ(attributes(id).attributes.size_bytes, size);
  }
  // It was parted once; that it grows does not show by a version that anybody asks for.
  source_.overwrite("file", content.size(), "a line\n");
  look();
  EXPECT_TRUE(comes(reader, content + "a line\n"));
  EXPECT_TRUE(read_path("file") == content + "a line\n");
  release(reader);
  EXPECT_EQ(kernel().backings(), 0U);
}

TEST_F(PartedObject, StaysWithAFileThatWasReplaced) {
  const OpenReply reader = keep_open();
  const std::string before = source_.content("file");
  for (const size_t size : {size_t{5}, before.size(), 9 * kBlock}) {
    source_.put("new", random_text(size + 1, size));
    source_.move("new", "file");
    look();
    EXPECT_TRUE(read_backing(reader) == before) << size;
    EXPECT_TRUE(read_path("file") == source_.content("file"));
  }
  release(reader);
}

TEST_F(PartedObject, IsComparedAgainWhenTheSourceHadABadMoment) {
  const OpenReply reader = keep_open();
  const std::string content = random_text(9, 3 * kBlock);
  source_.overwrite("file", 0, content);
  source_.fail_next(CallKind::kRead, Code::kIo);
  look();
  look();
  EXPECT_TRUE(comes(reader, content));
  release(reader);
}

TEST_F(PartedObject, IsNotCutWhenTheSourceHasABadMoment) {
  const OpenReply reader = keep_open();
  const std::string before = source_.content("file");
  source_.put("new", "another");
  source_.move("new", "file");
  source_.fail_next(CallKind::kRead, Code::kIo);
  look();
  EXPECT_TRUE(read_backing(reader) == before);
  release(reader);
}

TEST_F(PartedObject, ShowsAtOnceWhatIsWrittenOnTheMount) {
  const OpenReply reader = keep_open();
  const KernelId id = lookup(kRoot, "file").id;
  const OpenReply writer = open(id, O_WRONLY);
  const std::string before = source_.content("file");
  source_.put_name("file", "kept");
  source_.put("new", "another");
  source_.move("new", "file");
  look();
  ASSERT_TRUE(write(writer, "WRITTEN", kBlock));
  EXPECT_EQ(read_backing(reader).substr(kBlock, 7), "WRITTEN");
  EXPECT_TRUE(source_.content("kept") == read_backing(reader));
  EXPECT_EQ(source_.content("file"), "another");
  release(writer);
  release(reader);
}

// Changed in place, it may be another file as far as its name tells; through whichever handle.
TEST_F(PartedObject, ShowsAtOnceWhatIsChangedThroughANewHandle) {
  const OpenReply reader = keep_open();
  source_.overwrite("file", 0, "in place");
  look();
  const KernelId id = lookup(kRoot, "file").id;
  const OpenReply writer = reopen(id, "file", O_RDWR);
  ASSERT_TRUE(write(writer, "WRITTEN", kBlock));
  EXPECT_TRUE(read_backing(reader) == source_.content("file"));
  ASSERT_TRUE(write(writer, "at the end", 0, O_APPEND));
  EXPECT_TRUE(read_backing(reader) == source_.content("file"));
  ASSERT_TRUE(fs_->run(files().allocate(writer.handle, FALLOC_FL_ZERO_RANGE, 5, kBlock)));
  EXPECT_TRUE(read_backing(reader) == source_.content("file"));
  AttributeChange change;
  for (const uint64_t size : {kBlock + 3, 2 * kBlock}) {
    change.size_bytes = size;
    ASSERT_TRUE(fs_->run(files().set_attributes(lookup(kRoot, "file").id, change, writer.handle)));
    EXPECT_EQ(source_.content("file").size(), size);
    EXPECT_TRUE(read_backing(reader) == source_.content("file"));
  }
  release(writer);
  release(reader);
}

// What an object takes is counted until it is closed, whatever it has become.
TEST_F(PartedObject, CountsWhatItGrowsBy) {
  const OpenReply reader = keep_open();
  const std::string content = random_text(7, 64 * kBlock);
  source_.overwrite("file", 0, content);
  look();
  EXPECT_TRUE(comes(reader, content));
  look();  // one after the other: the last write has been counted, too
  EXPECT_GE(fs_->stack.metric("larder_cache_object_bytes"), static_cast<int64_t>(64 * kBlock));
  release(reader);
  settle_all();
  EXPECT_LT(fs_->stack.metric("larder_cache_object_bytes"), static_cast<int64_t>(64 * kBlock));
}

}  // namespace
}  // namespace larder::fs
