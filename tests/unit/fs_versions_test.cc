// Changes made elsewhere, or here by others, while a file is looked up, opened and read.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/falloc.h>

#include <thread>

#include "fs_fixture.h"

namespace larder::fs {
namespace {

using testing::random_text;

TEST_F(FsTest, ASizeTheKernelHasFromBeforeAChangeOutsideIsNotOpened) {
  source_.put("file", "short");
  mount();
  let_ttl_pass();
  // Never opened: nothing is cached of it but what the kernel was told.
  const KernelId id = lookup(kRoot, "file").id;
  source_.overwrite("file", 0, "a longer text");
  let_ttl_pass();
  list(kRoot, true);  // tells the kernel, which may believe another answer
  const auto refused = try_open(id);
  ASSERT_FALSE(refused);
  EXPECT_TRUE(refused.error().is(Code::kStale));
  const NodeReply fresh = lookup(kRoot, "file");
  EXPECT_EQ(fresh.attributes.size_bytes, 13U);
  release(open(fresh.id));
}

TEST_F(FsTest, AFileHandleLeadsToTheKernelInodeItWasMadeOf) {
  source_.put("file", "first");
  mount();
  let_ttl_pass();
  const KernelId id = lookup(kRoot, "file").id;
  read_path("file");
  source_.overwrite("file", 0, "second version");
  let_ttl_pass();
  const KernelId fresh = lookup(kRoot, "file").id;
  ASSERT_NE(fresh, id);
  forget_all();
  for (const KernelId handle : {id, fresh}) EXPECT_EQ(lookup(handle, ".").id, handle);
  forget_all();
}

TEST_F(FsTest, AnOpenerIsSentBackOnce) {
  source_.put("file", "first");
  mount();
  let_ttl_pass();
  read_path("file");
  const KernelId id = lookup(kRoot, "file").id;
  constexpr pid_t kOpener = 7, kOther = 8;
  source_.overwrite("file", 0, "second version");
  EXPECT_FALSE(try_open(id, O_RDONLY, kOpener));
  const KernelId fresh = lookup(kRoot, "file").id;
  source_.overwrite("file", 0, "third version of it");
  EXPECT_FALSE(try_open(fresh, O_RDONLY, kOther));
  const OpenReply opened = open(fresh, O_RDONLY, kOpener);
  EXPECT_FALSE(opened.keep_cache);
  EXPECT_EQ(read(opened), "third version of it");
  release(opened);
  // By a descriptor's name in /proc, without a look-up.
  EXPECT_FALSE(try_open(id, O_RDONLY, kOpener));
  release(open(id, O_RDONLY, kOpener));
  // He may have been killed and never come again.
  EXPECT_FALSE(try_open(id, O_RDONLY, kOpener));
  clock_.advance(SentBack::kTimeMax);
  EXPECT_FALSE(try_open(id, O_RDONLY, kOpener));
}

TEST_F(FsTest, WhereAnOpenerIsSentIsStillKnownWhenHeComes) {
  source_.put("file", "first");
  mount();
  let_ttl_pass();
  read_path("file");
  const KernelId id = lookup(kRoot, "file").id;
  source_.overwrite("file", 0, "second version");
  EXPECT_FALSE(try_open(id));
  forget_all();  // the kernel lets go of the old inode before it asks for the name
  const KernelId fresh = lookup(kRoot, "file").id;
  EXPECT_NE(fresh, id);
  const OpenReply opened = open(fresh);
  EXPECT_EQ(read(opened), "second version");
  release(opened);
  forget_all();
  clock_.advance(SentBack::kTimeMax);
  if (const auto again = try_open(id)) release(*again);
  forget_all();
}

TEST_F(FsTest, AnInodeForEachVersionThatIsStillOpenUntilThereIsNoneLeft) {
  source_.put("file", "0");
  mount();
  let_ttl_pass();
  std::vector<OpenReply> opens;
  KernelId id = lookup(kRoot, "file").id;
  for (uint64_t version = 1; version < 2 * kVirtualEpoch; ++version) {
    opens.push_back(reopen(id, "file"));
    EXPECT_EQ(read(opens.back()), source_.content("file"));
    source_.overwrite("file", 0, std::to_string(version));
    let_ttl_pass();
    id = lookup(kRoot, "file").id;
    EXPECT_LT(id.epoch(), kVirtualEpoch);
  }
  for (const OpenReply& open : opens) release(open);
  forget_all();
}

// --- a name that leads elsewhere by now

TEST_F(FsTest, WhoHasAFileOpenKeepsItWhenItIsReplacedOutside) {
  const std::string first = random_text(1, 3 * kBlock);
  source_.put("file", first);
  mount();
  let_ttl_pass();
  const KernelId id = lookup(kRoot, "file").id;
  auto hold = source_.hold(CallKind::kRead);  // nothing is cached yet
  const OpenReply opened = open(id);
  source_.put("new", "another file");
  source_.move("new", "file");
  hold->release();
  let_ttl_pass();
  EXPECT_EQ(attributes(id).attributes.size_bytes, first.size());
  EXPECT_THAT(kernel().take_expired_entries(), ::testing::SizeIs(1));
  EXPECT_EQ(read(opened), first);
  release(opened);
  EXPECT_EQ(read_path("file"), "another file");
}

// The flag may have been set since the file was opened.
TEST_F(FsTest, AfterADirectWriteTheNextOpenDropsTheKernelsPages) {
  source_.put("file", random_text(1, 3 * kBlock));
  mount();
  let_ttl_pass();
  const KernelId id = lookup(kRoot, "file").id;
  const OpenReply writer = open(id, O_RDWR);
  release(open(id));
  EXPECT_TRUE(write(writer, "through the pages", 0));
  OpenReply next = open(id);
  EXPECT_TRUE(next.keep_cache);
  release(next);
  EXPECT_TRUE(write(writer, "past them", 0, O_DIRECT));
  next = open(id);
  EXPECT_FALSE(next.keep_cache);
  release(next);
  next = open(id);
  EXPECT_TRUE(next.keep_cache);
  release(next);
  release(writer);
}

// What is opened for its readers shows that the file has changed.
TEST_F(FsTest, WhoHasAFileOpenKeepsItWhenItIsChangedInPlaceAndThenReplaced) {
  source_.put("file", random_text(1, 3 * kBlock));
  mount();
  let_ttl_pass();
  read_path("file");
  let_ttl_pass();
  const KernelId id = lookup(kRoot, "file").id;
  const uint64_t before = source_.calls(CallKind::kOpen);
  const OpenReply opened = open(id);  // from the cache: the source is not held open
  source_.overwrite("file", 10, "changed");
  const std::string changed = source_.content("file");
  // Not by the clock of the test: the reactor sleeps.
  while (source_.calls(CallKind::kOpen) == before)
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  fs_->stack.settle();
  source_.put("new", "another file");
  source_.move("new", "file");
  let_ttl_pass();
  EXPECT_EQ(read(opened), changed);
  release(opened);
}

TEST_F(FsTest, AFileThatIsOpenForWritingAloneCanBeReadWhenItWasReplaced) {
  source_.put("file", random_text(1, 3 * kBlock));
  mount();
  let_ttl_pass();
  read_path("file");
  let_ttl_pass();
  const KernelId id = lookup(kRoot, "file").id;
  const OpenReply writer = open(id, O_WRONLY);
  const OpenReply reader = open(id);  // from the cache: the source is not held open for it
  source_.overwrite("file", 10, "changed");
  const std::string changed = source_.content("file");
  source_.put("new", "another file");
  source_.move("new", "file");
  let_ttl_pass();
  try_attributes(id);  // by what the writer has open
  EXPECT_EQ(read(reader), changed);
  release(reader);
  release(writer);
}

TEST_F(FsTest, ANumberThatHoldsWhileMountedTellsAReplacedFileInThisRunAlone) {
  source_.set_inode_numbers(source::InodeNumbers::kWhileMounted);
  source_.put("file", "first");
  mount();
  let_ttl_pass();
  const KernelId id = lookup(kRoot, "file").id;
  source_.overwrite("file", 0, "in place");
  let_ttl_pass();
  EXPECT_EQ(lookup(kRoot, "file").id.node(), id.node());
  source_.put("file", "another file");
  let_ttl_pass();
  const KernelId other = lookup(kRoot, "file").id;
  EXPECT_NE(other.node(), id.node());
  read_path("file");
  forget_all();
  remount();
  source_.put("file", "with a number that may be of another mount");
  let_ttl_pass();
  EXPECT_EQ(lookup(kRoot, "file").id.node(), other.node());
}

TEST_F(FsTest, WhatIsOpenIsShownAsLastKnownWhenItsFileIsGone) {
  source_.put("file", "text");
  mount();
  let_ttl_pass();
  read_path("file");
  const KernelId id = lookup(kRoot, "file").id;
  const OpenReply opened = open(id);  // from the cache: the source is not held open
  source_.remove("file");
  let_ttl_pass();
  EXPECT_EQ(attributes(id).attributes.size_bytes, 4U);
  EXPECT_EQ(read(opened), "text");
  ASSERT_TRUE(files().evict(NodeId{id.node()}, 1));
  const auto lost = try_read(opened);
  ASSERT_FALSE(lost);
  EXPECT_TRUE(lost.error().is(Code::kIo));
  release(opened);
  EXPECT_FALSE(try_attributes(id));
}

TEST_F(FsTest, AnOpenerWhoseFileIsReplacedTwiceOpensTheOneFoundBefore) {
  for (const int flags : {O_RDONLY, O_RDWR}) {
    source_.put("file", "first");
    mount();
    let_ttl_pass();
    const KernelId id = lookup(kRoot, "file").id;
    source_.put("second", "the second");
    source_.move("second", "file");
    EXPECT_FALSE(try_open(id, flags));
    const KernelId found = lookup(kRoot, "file").id;
    source_.put("third", "the third");
    source_.move("third", "file");
    const OpenReply opened = open(found, flags);
    EXPECT_EQ(read(opened), "the second");
    release(opened);
    let_ttl_pass();
    EXPECT_EQ(read_path("file"), "the third");
    forget_all();
  }
}

// As of a file that is mounted itself.
TEST_F(FsTest, WhoComesByNoNameComesToTheFileThatWasReplaced) {
  source_.put("file", "first");
  mount();
  let_ttl_pass();
  read_path("file");
  const KernelId id = lookup(kRoot, "file").id;
  source_.put("second", "the second");
  source_.move("second", "file");
  let_ttl_pass();
  constexpr pid_t kOpener = 7;
  const auto ask = [&] { return fs_->run(files().attributes(id, kOpener), id); };
  const auto refused = ask();
  ASSERT_FALSE(refused);
  EXPECT_TRUE(refused.error().is(Code::kStale));
  const auto last_known = ask();
  ASSERT_TRUE(last_known) << last_known.error().message();
  EXPECT_EQ(last_known->attributes.size_bytes, 5U);
  for (int round = 0; round < 2; ++round) {
    if (round > 0) {
      EXPECT_FALSE(try_open(id, O_RDONLY, kOpener)) << "the kernel may know a name";
    }
    const OpenReply opened = open(id, O_RDONLY, kOpener);
    EXPECT_EQ(read(opened), "first");
    release(opened);
  }
  // There is nothing to write to.
  EXPECT_FALSE(try_open(id, O_WRONLY, kOpener));
  EXPECT_FALSE(try_open(id, O_WRONLY, kOpener));
  EXPECT_EQ(source_.content("file"), "the second");
  EXPECT_EQ(read_path("file"), "the second");
}

// Before it opens a file the kernel may ask for its attributes, which sends it back just so.
TEST_F(FsTest, WhoAskedOfAReplacedFileIsSentBackOnce) {
  source_.put("file", "first");
  mount();
  let_ttl_pass();
  KernelId id = lookup(kRoot, "file").id;
  const auto replace = [&](const std::string& content) {
    source_.put("new", content);
    source_.move("new", "file");
    let_ttl_pass();
  };
  replace("the second");
  EXPECT_FALSE(try_attributes(id));
  id = lookup(kRoot, "file").id;
  replace("the third one");
  EXPECT_EQ(attributes(id).attributes.size_bytes, 10U);
  const OpenReply opened = open(id);
  EXPECT_EQ(read(opened), "the third one");
  release(opened);
  replace("the fourth");
  EXPECT_FALSE(try_attributes(id)) << "it has come, and is sent back like any other";
}

// The kernel may come by an old name to a file that has none any more.
TEST_F(FsTest, AnOpenerOfAFileWithoutANameIsSentBackOnce) {
  for (const int flags : {O_RDONLY, O_RDWR}) {
    source_.put("file", "first");
    mount();
    let_ttl_pass();
    const KernelId id = lookup(kRoot, "file").id;
    source_.put("second", "the second");
    source_.move("second", "file");
    let_ttl_pass();
    lookup(kRoot, "file");
    EXPECT_FALSE(try_open(id, flags));
    const KernelId found = lookup(kRoot, "file").id;
    source_.put("third", "the third");
    source_.move("third", "file");
    const OpenReply opened = open(found, flags);
    EXPECT_EQ(read(opened), "the second");
    release(opened);
    forget_all();
  }
}

// The kernel asks once for a page that it has in part, and twice for any other.
TEST_F(FsTest, APageOfACutFileThatWasWrittenInPartIsAnsweredAtOnce) {
  for (const bool writes : {false, true}) {
    source_.put("file", random_text(1, 3 * kBlock));
    mount();
    let_ttl_pass();
    const KernelId id = lookup(kRoot, "file").id;
    const OpenReply reader = open(id);
    const OpenReply writer = open(id, O_RDWR);
    EXPECT_EQ(read(reader), source_.content("file"));
    source_.cut("file", 100);
    let_ttl_pass();
    EXPECT_EQ(attributes(id).attributes.size_bytes, 100U);
    if (writes) {
      EXPECT_TRUE(write(writer, "in part", 10));
    }
    Result<std::string> got = try_read(reader, 0, kBlock);
    EXPECT_EQ(got.has_value(), writes);
    if (!got) got = try_read(reader, 0, kBlock);
    EXPECT_EQ(got.value_or(""), source_.content("file"));
    release(reader);
    release(writer);
    forget_all();
  }
}

class FsPages : public FsTest {
 protected:
  KernelId mount_file(const std::string& content) {
    source_.put("file", content);
    mount();
    let_ttl_pass();
    return lookup(kRoot, "file").id;
  }
};

// The kernel's page of the old end has zeros behind it.
TEST_F(FsPages, GrowthIsShownOnceTheOldPagesAreGone) {
  const KernelId id = mount_file("first");
  const OpenReply reader = open(id);
  EXPECT_EQ(read(reader), "first");
  kernel().hold_pages();
  for (const std::string more : {"first and more", "first and more and still more"}) {
    source_.overwrite("file", 0, more);
    let_ttl_pass();
    EXPECT_EQ(attributes(id).attributes.size_bytes, 5U);
    EXPECT_EQ(attributes(id).ttl, Nanos(0));
    const NodeReply fresh = lookup(kRoot, "file");
    EXPECT_FALSE(fresh.id == id);
    EXPECT_EQ(fresh.attributes.size_bytes, more.size());
  }
  kernel().let_pages_go();
  EXPECT_EQ(attributes(id).attributes.size_bytes, source_.content("file").size());
  EXPECT_EQ(read(reader), source_.content("file"));
  release(reader);
}

// What the kernel asks again it asks when it has heard that its pages go.
TEST_F(FsTest, ARefusalWaitsWhileTheKernelIsTold) {
  source_.put("file", random_text(1, kBlock));
  mount();
  let_ttl_pass();
  const KernelId id = lookup(kRoot, "file").id;
  const OpenReply reader = open(id);
  EXPECT_EQ(read(reader), source_.content("file"));
  kernel().take_invalidated_nodes();
  kernel().hold_pages();
  source_.cut("file", 100);
  let_ttl_pass();
  EXPECT_EQ(attributes(id).attributes.size_bytes, 100U);
  const auto is_dropped = [&] {
    const std::vector<KernelId> dropped = kernel().take_invalidated_nodes();
    return std::ranges::find(dropped, id) != dropped.end();
  };
  bool dropped = false;
  for (int left = 10'000; left > 0 && !(dropped = is_dropped()); --left)
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  ASSERT_TRUE(dropped);
  // The kernel may not have heard of it yet.
  const auto asked_at = std::chrono::steady_clock::now();
  EXPECT_FALSE(try_read(reader, 0, kBlock));
  EXPECT_GE(std::chrono::steady_clock::now() - asked_at, CutFiles::kToldTime);
  EXPECT_EQ(try_read(reader, 0, kBlock).value_or(""), source_.content("file"));
  kernel().let_pages_go();
  release(reader);
}

// Who has it open since before others changed it reads by another kernel inode.
TEST_F(FsPages, AWriteIsAnsweredWhenOtherReadersPagesAreGone) {
  const KernelId id = mount_file("first");
  const OpenReply reader = open(id);
  EXPECT_EQ(read(reader), "first");
  source_.overwrite("file", 0, "other");
  let_ttl_pass();
  const KernelId fresh = lookup(kRoot, "file").id;
  ASSERT_FALSE(fresh == id);
  const OpenReply writer = open(fresh, O_RDWR);
  kernel().take_invalidated_nodes();
  kernel().hold_pages();
  const auto start = std::chrono::steady_clock::now();
  auto writing = fs_->start(
      fresh, files().write(writer.handle, testing::buffer_of(fs_->stack.pool, "third"), 0, O_RDWR));
  const bool is_early =
      writing.wait_for(std::chrono::milliseconds(10)) == std::future_status::ready;
  // But not for long: a page may be held by a write that waits for this one.
  const auto passed = std::chrono::steady_clock::now() - start;
  if (passed < std::chrono::milliseconds(50)) {
    EXPECT_FALSE(is_early);
  }
  EXPECT_TRUE(writing.get());
  const std::vector<KernelId> dropped = kernel().take_invalidated_nodes();
  EXPECT_NE(std::ranges::find(dropped, id), dropped.end());
  EXPECT_EQ(std::ranges::find(dropped, fresh), dropped.end());
  kernel().let_pages_go();
  EXPECT_EQ(read(reader), "third");
  release(writer);
  release(reader);
}

TEST_F(FsPages, GrowthByAWriterIsShownAtOnce) {
  const KernelId id = mount_file("first");
  const OpenReply writer = open(id, O_RDWR);
  kernel().hold_pages();
  ASSERT_TRUE(write(writer, " and more", 5));
  EXPECT_EQ(attributes(id).attributes.size_bytes, 14U);
  let_ttl_pass();
  EXPECT_EQ(attributes(id).attributes.size_bytes, 14U);
  kernel().let_pages_go();
  release(writer);
}

TEST_F(FsTest, AnOpenerThatCameForAnotherFileIsSentBackLikeAnyOther) {
  source_.put("file", "first");
  source_.put("other", "other file");
  mount();
  let_ttl_pass();
  const KernelId id = lookup(kRoot, "file").id;
  const KernelId other = lookup(kRoot, "other").id;
  source_.put("second", "the second");
  source_.move("second", "file");
  EXPECT_FALSE(try_open(id));
  source_.put("third", "the third");
  source_.move("third", "other");
  EXPECT_FALSE(try_open(other));
}

TEST_F(FsTest, AnOpenerWhoseFileGoesMeanwhileIsToldSo) {
  source_.put("file", "first");
  mount();
  let_ttl_pass();
  read_path("file");
  const KernelId id = lookup(kRoot, "file").id;
  source_.overwrite("file", 0, "other");
  EXPECT_FALSE(try_open(id));
  source_.remove("file");
  const auto gone = try_open(id);
  ASSERT_FALSE(gone);
  EXPECT_TRUE(gone.error().is(Code::kNotFound));
}

// --- beside changes made here

TEST_F(FsTest, ANameThatWasNotLookedUpYetShowsTheChangeMadeByAnother) {
  source_.put("one", "text");
  CoherenceOptions coherence;
  coherence.attributes_ttl = std::chrono::hours(1);
  mount(coherence);
  const KernelId known = lookup(kRoot, "one").id;
  note(fs_->run(files().link(known, kRoot, "two")));
  fs_->stack.claim();
  remount();
  // From here on larder knows of the other name by its record alone.
  const KernelId id = lookup(kRoot, "one").id;
  clock_.advance(std::chrono::seconds(1));
  ASSERT_TRUE(fs_->run(files().unlink(kRoot, "one")));
  try_attributes(id);
  const NodeReply left = lookup(kRoot, "two");
  EXPECT_EQ(left.id, id);
  EXPECT_EQ(left.attributes.nlink, 1U);
  EXPECT_EQ(left.attributes.times, source_.attributes_of("two").times);
}

TEST_F(FsTest, AttributesDoNotGoBackBehindAChangeThatEndedBeforeTheQuestion) {
  source_.put("file", std::string(100, 'a'));
  mount();
  let_ttl_pass();
  const KernelId id = lookup(kRoot, "file").id;
  const OpenReply writer = open(id, O_RDWR);
  ASSERT_TRUE(write(writer, std::string(100, 'b'), 100));
  // Answered by the source, and on its way when the next change is made.
  auto hold = source_.hold(CallKind::kAttributes, Stage::kAfter);
  auto asking = fs_->start(id, files().attributes(id, kUser));
  hold->wait_for_calls(1);
  ASSERT_TRUE(write(writer, std::string(100, 'c'), 200));
  hold->release();
  const auto overtaken = asking.get();
  ASSERT_TRUE(overtaken);
  EXPECT_GE(overtaken->attributes.size_bytes, 200U);
  EXPECT_EQ(overtaken->ttl, Nanos(0));  // nobody may keep it
  EXPECT_EQ(attributes(id).attributes.size_bytes, 300U);
  release(writer);
  EXPECT_EQ(attributes(id).attributes.size_bytes, 300U);
}

TEST_F(FsTest, AReaderGetsPastAFileThatIsChangedAllTheTime) {
  constexpr uint64_t kBlocks = 16;
  source_.put("file", random_text(1, kBlocks * kBlock));
  mount();
  let_ttl_pass();
  const KernelId id = lookup(kRoot, "file").id;
  auto hold = source_.hold(CallKind::kRead);
  const OpenReply reader = open(id);
  auto reading = fs_->start(id, files().read(reader.handle, 0, kBlocks * kBlock));
  const auto is_done = [&] {
    return reading.wait_for(std::chrono::seconds(0)) == std::future_status::ready;
  };
  // Each time it is about to be given its data the file is cut short.
  std::vector<std::future<Result<AttributesReply>>> changes;
  for (uint64_t blocks = kBlocks - 1; blocks > 0 && !is_done(); --blocks) {
    while (hold->arrived() == 0 && !is_done()) std::this_thread::yield();
    auto next = source_.hold(CallKind::kRead);
    AttributeChange change;
    change.size_bytes = blocks * kBlock;
    changes.push_back(fs_->start(id, files().set_attributes(id, change, 0)));
    hold->release();
    hold = std::move(next);
  }
  hold->release();
  const auto read = reading.get();
  EXPECT_TRUE(read) << read.error().message();
  for (auto& change : changes) EXPECT_TRUE(change.get());
  release(reader);
}

class FsMemoryOnlyTest : public FsTest {
 protected:
  // Cached in memory, and nowhere else: there is no room on the disk.
  OpenReply open_in_memory() {
    source_.put("file", random_text(1, 8 * kBlock));
    source_.put("other", random_text(2, 8 * kBlock));
    testing::StackOptions options;
    options.limit_bytes = 0;
    options.memory_bytes = 64 << 20;
    mount({}, options);
    let_ttl_pass();
    const OpenReply opened = open(lookup(kRoot, "file").id, O_RDWR);
    read(opened);
    fs_->stack.settle();
    ReadReply reply;
    EXPECT_TRUE(files().read_hit(opened.handle, 0, 8 * kBlock, reply));
    return opened;
  }
};

TEST_F(FsMemoryOnlyTest, ARangeOfZerosIsReadAsSuch) {
  for (const int mode : {FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, FALLOC_FL_ZERO_RANGE}) {
    const OpenReply opened = open_in_memory();
    ASSERT_TRUE(fs_->run(files().allocate(opened.handle, mode, kBlock + 10, 3 * kBlock)));
    EXPECT_EQ(read(opened), source_.content("file")) << mode;
    release(opened);
  }
}

TEST_F(FsMemoryOnlyTest, WhatIsCopiedOverItIsRead) {
  const OpenReply opened = open_in_memory();
  const OpenReply other = open(lookup(kRoot, "other").id);
  ASSERT_TRUE(
      fs_->run(files().copy_range(other.handle, 7, opened.handle, 2 * kBlock + 5, 3 * kBlock)));
  EXPECT_EQ(read(opened), source_.content("file"));
  release(other);
  release(opened);
}

TEST_F(FsMemoryOnlyTest, WhatIsWrittenAndCutIsRead) {
  const OpenReply opened = open_in_memory();
  ASSERT_TRUE(write(opened, random_text(3, 2 * kBlock), kBlock / 2));
  EXPECT_EQ(read(opened), source_.content("file"));
  AttributeChange change;
  change.size_bytes = kBlock + 7;
  const KernelId id = lookup(kRoot, "file").id;
  ASSERT_TRUE(fs_->run(files().set_attributes(id, change, opened.handle), id));
  ASSERT_TRUE(write(opened, "end", 3 * kBlock));
  EXPECT_EQ(read(opened), source_.content("file"));
  release(opened);
}

}  // namespace
}  // namespace larder::fs
