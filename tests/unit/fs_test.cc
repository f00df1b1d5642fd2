// CachedFileSystem over a fake source, with the test as the kernel.
#include <algorithm>

#include "fs/set_id.h"
#include "fs_passthrough_fixture.h"

namespace larder::fs {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::Not;
using testing::random_text;
using ::testing::UnorderedElementsAre;
using namespace std::chrono_literals;

// --- names and attributes

TEST_F(FsTest, ANameIsAskedOnceWithinItsTime) {
  source_.put("file", "text");
  mount();
  const NodeReply first = lookup(kRoot, "file");
  EXPECT_EQ(first.attributes.size_bytes, 4U);
  EXPECT_EQ(first.attributes.inode, first.id.node());
  const uint64_t asked = calls(CallKind::kAttributes);
  EXPECT_EQ(lookup(kRoot, "file").id, first.id);
  EXPECT_EQ(calls(CallKind::kAttributes), asked);
  let_ttl_pass();
  EXPECT_EQ(lookup(kRoot, "file").id, first.id);
  EXPECT_EQ(calls(CallKind::kAttributes), asked + 1);
}

TEST_F(FsTest, AMissingNameIsRememberedForItsTime) {
  mount();
  EXPECT_EQ(lookup(kRoot, "none").id.value, 0U);
  const uint64_t asked = calls(CallKind::kAttributes);
  EXPECT_EQ(lookup(kRoot, "none").id.value, 0U);
  EXPECT_EQ(calls(CallKind::kAttributes), asked);
  source_.put("none", "came");
  let_ttl_pass();
  EXPECT_NE(lookup(kRoot, "none").id.value, 0U);
}

TEST_F(FsTest, ANameThatGoesOutsideGoesHere) {
  source_.put("file", "text");
  mount();
  lookup(kRoot, "file");
  source_.remove("file");
  let_ttl_pass();
  EXPECT_EQ(lookup(kRoot, "file").id.value, 0U);
}

TEST_F(FsTest, AnotherFileUnderTheNameIsAnotherNode) {
  source_.put("file", "one");
  mount();
  const NodeReply first = lookup(kRoot, "file");
  source_.put("file", "two");
  let_ttl_pass();
  const NodeReply second = lookup(kRoot, "file");
  EXPECT_NE(second.id, first.id);
  EXPECT_EQ(read_path("file"), "two");
}

TEST_F(FsTest, NodeIdsSurviveARemount) {
  source_.put("d/file", "text");
  mount();
  const KernelId id = walk("d/file").id;
  remount();
  EXPECT_EQ(walk("d/file").id.node(), id.node());
}

TEST_F(FsTest, TwoNamesOfOneFileAreOneNode) {
  source_.put("file", "text");
  mount();
  const NodeReply file = lookup(kRoot, "file");
  const NodeReply linked = note(fs_->run(files().link(file.id, kRoot, "other")));
  EXPECT_EQ(linked.id, file.id);
  EXPECT_EQ(linked.attributes.nlink, 2U);
  EXPECT_EQ(lookup(kRoot, "other").id, file.id);
  remount();
  EXPECT_EQ(lookup(kRoot, "other").id.node(), file.id.node());
  EXPECT_EQ(lookup(kRoot, "file").id.node(), file.id.node());
}

TEST_F(FsTest, AttributesAreAskedOnceWithinTheirTime) {
  source_.put("file", "text");
  mount();
  const KernelId id = lookup(kRoot, "file").id;
  const uint64_t asked = calls(CallKind::kAttributes);
  EXPECT_EQ(attributes(id).attributes.size_bytes, 4U);
  EXPECT_EQ(calls(CallKind::kAttributes), asked);
  source_.overwrite("file", 4, " and more");
  let_ttl_pass();
  EXPECT_EQ(attributes(id).attributes.size_bytes, 13U);
}

// Times to live that outlast a restart: what a change made here has overtaken is not fresh.
TEST_F(FsTest, AChangeEndsALongTimeToLive) {
  source_.put("file", "text");
  CoherenceOptions coherence;
  coherence.attributes_ttl = std::chrono::minutes(10);
  coherence.revalidate_at_open = false;
  mount(coherence);
  let_ttl_pass();
  const OpenReply opened = open(lookup(kRoot, "file").id, O_RDWR);
  ASSERT_TRUE(write(opened, "text that is longer"));
  EXPECT_EQ(lookup(kRoot, "file").attributes.size_bytes, 19U);
  sim_disk_.crash_at_step(1);
  release(opened);
  fs_.reset();
  sim_disk_.process_death();
  mount(coherence);
  EXPECT_EQ(lookup(kRoot, "file").attributes.size_bytes, 19U);
  EXPECT_EQ(read_path("file"), "text that is longer");
}

TEST_F(FsTest, ALateAnswerDoesNotUndoAChange) {
  source_.put("file", "text");
  CoherenceOptions coherence;
  coherence.revalidate_at_open = false;  // or the change itself asks
  mount(coherence);
  const KernelId id = lookup(kRoot, "file").id;
  const OpenReply opened = open(id, O_RDWR);
  let_ttl_pass();
  auto hold = source_.hold(CallKind::kAttributes, Stage::kAfter);
  auto late = fs_->start(id, files().attributes(id, kUser));
  hold->wait_for_calls(1);
  ASSERT_TRUE(write(opened, "text that is longer"));
  hold->release();
  ASSERT_TRUE(late.get());
  EXPECT_EQ(attributes(id).attributes.size_bytes, 19U);
  EXPECT_EQ(read(opened), "text that is longer");
  release(opened);
}

TEST_F(FsTest, ALateAnswerDoesNotUndoALaterOne) {
  source_.put("file", "text");
  mount();
  const KernelId id = lookup(kRoot, "file").id;
  let_ttl_pass();
  auto hold = source_.hold(CallKind::kAttributes, Stage::kAfter);
  auto late = fs_->start(id, files().attributes(id, kUser));
  hold->wait_for_calls(1);
  source_.overwrite("file", 0, "text that is longer");
  let_ttl_pass();
  try_open(id);  // asks the source in another way, and learns of it
  hold->release();
  ASSERT_TRUE(late.get());
  EXPECT_EQ(attributes(id).attributes.size_bytes, 19U);
  EXPECT_EQ(read_path("file"), "text that is longer");
}

TEST_F(FsTest, ALateAnswerDoesNotBringBackARemovedName) {
  source_.put("file", "text");
  mount();
  lookup(kRoot, "file");
  let_ttl_pass();
  auto hold = source_.hold(CallKind::kAttributes, Stage::kAfter);
  auto late = fs_->start(kRoot, files().lookup(kRoot, "file", 1));
  hold->wait_for_calls(1);
  ASSERT_TRUE(fs_->run(files().unlink(kRoot, "file")));
  hold->release();
  note(late.get());
  EXPECT_EQ(lookup(kRoot, "file").id.value, 0U);
}

TEST_F(FsTest, ALateAnswerDoesNotHideAMadeName) {
  mount();
  auto hold = source_.hold(CallKind::kAttributes, Stage::kAfter);
  auto late = fs_->start(kRoot, files().lookup(kRoot, "file", 1));
  hold->wait_for_calls(1);
  const CreateReply made = create(kRoot, "file");
  hold->release();
  note(late.get());
  EXPECT_EQ(lookup(kRoot, "file").id, made.node.id);
  release(made.open);
}

TEST_F(FsTest, ChangesOfAttributesShowAtOnceAndKeepTheData) {
  source_.put("file", random_text(1, 3 * kBlock));
  mount();
  let_ttl_pass();
  read_path("file");
  const KernelId id = lookup(kRoot, "file").id;
  AttributeChange change;
  change.permissions = 0600;
  const auto changed = fs_->run(files().set_attributes(id, change, 0), id);
  ASSERT_TRUE(changed);
  EXPECT_EQ(changed->attributes.mode, static_cast<uint32_t>(S_IFREG | 0600));
  let_ttl_pass();
  const uint64_t reads = calls(CallKind::kRead);
  EXPECT_EQ(read_path("file"), source_.content("file"));
  EXPECT_EQ(calls(CallKind::kRead), reads);
}

TEST_F(FsTest, BitsAreTakenFromTheModeTheSourceHas) {
  source_.put("file", "text");
  mount();
  const KernelId id = lookup(kRoot, "file").id;
  AttributeChange change;
  change.permissions = 06755;
  ASSERT_TRUE(fs_->run(files().set_attributes(id, change, 0), id));
  EXPECT_TRUE(has_set_id(*files().last_seen(id)));
  change.permissions = 06711;  // outside
  ASSERT_TRUE(fs_->run(source_.set_attributes({source_.root(), "file"}, change), kRoot));
  AttributeChange taking;
  taking.cleared_permissions = S_ISUID;
  ASSERT_TRUE(fs_->run(files().set_attributes(id, taking, 0), id));
  EXPECT_EQ(files().last_seen(id)->mode, static_cast<uint32_t>(S_IFREG | 02711));
  EXPECT_FALSE(files().last_seen(KernelId{12345}));
}

TEST(SetId, GoesWithAChangeAsOnALocalDisk) {
  const auto lost = [](uint32_t mode, const Credentials& who) {
    Attributes file;
    file.mode = mode;
    file.gid = 7;
    return lost_set_id(file, who);
  };
  const Credentials stranger{.uid = 1, .gid = 1, .groups = {2, 3}};
  const Credentials member{.uid = 1, .gid = 1, .groups = {2, 7}};
  const Credentials of_group{.uid = 1, .gid = 7};
  EXPECT_EQ(lost(S_IFREG | 0777, stranger), 0U);
  EXPECT_EQ(lost(S_IFDIR | 02777, stranger), 0U);
  EXPECT_EQ(lost(S_IFREG | 06666, stranger), static_cast<uint32_t>(S_ISUID | S_ISGID));
  for (const Credentials& who : {member, of_group}) {
    EXPECT_EQ(lost(S_IFREG | 06666, who), static_cast<uint32_t>(S_ISUID));
    EXPECT_EQ(lost(S_IFREG | 06676, who), static_cast<uint32_t>(S_ISUID | S_ISGID));
    EXPECT_EQ(lost(S_IFREG | 02666, who), 0U);
  }
}

TEST_F(FsTest, SymlinksAreReadOnce) {
  mount();
  const NodeReply made = note(fs_->run(files().make_symlink(kRoot, "link", "../there", kCaller)));
  EXPECT_TRUE(S_ISLNK(made.attributes.mode));
  let_ttl_pass();  // one more change would be seen now
  EXPECT_EQ(*fs_->run(files().read_link(made.id)), "../there");
  const uint64_t asked = calls(CallKind::kReadLink);
  EXPECT_EQ(*fs_->run(files().read_link(made.id)), "../there");
  EXPECT_EQ(calls(CallKind::kReadLink), asked);
}

// --- the namespace

TEST_F(FsTest, ARenamedFileKeepsItsNodeAndItsData) {
  source_.put("old", random_text(1, 3 * kBlock));
  source_.mkdir("d");
  mount();
  let_ttl_pass();
  read_path("old");
  fs_->stack.claim();
  const KernelId id = lookup(kRoot, "old").id;
  const KernelId directory = lookup(kRoot, "d").id;
  ASSERT_TRUE(fs_->run(files().rename(kRoot, "old", directory, "new", 0)));
  EXPECT_EQ(lookup(kRoot, "old").id.value, 0U);
  EXPECT_EQ(lookup(directory, "new").id, id);
  const uint64_t reads = calls(CallKind::kRead);
  EXPECT_EQ(read_path("d/new"), source_.content("d/new"));
  EXPECT_EQ(calls(CallKind::kRead), reads);
}

// The kernel, or the process, forgets the node between the rename and the next look.
TEST_F(FsTest, ARenamedFileKeepsItsDataWhenItIsForgotten) {
  for (const bool restart : {false, true}) {
    SCOPED_TRACE(restart);
    source_.put("old", random_text(1, 3 * kBlock));
    mount();
    let_ttl_pass();
    read_path("old");
    fs_->stack.claim();
    ASSERT_TRUE(fs_->run(files().rename(kRoot, "old", kRoot, "new", 0)));
    forget_all();
    if (restart) remount();
    let_ttl_pass();
    const uint64_t reads = calls(CallKind::kRead);
    EXPECT_EQ(read_path("new"), source_.content("new"));
    EXPECT_EQ(calls(CallKind::kRead), reads);
    forget_all();
    fs_.reset();
    source_.remove("new");
  }
}

TEST_F(FsTest, RenameReplacesWhatWasThere) {
  source_.put("a", "of a");
  source_.put("b", "of b");
  mount();
  const KernelId a = lookup(kRoot, "a").id;
  lookup(kRoot, "b");
  ASSERT_TRUE(fs_->run(files().rename(kRoot, "a", kRoot, "b", 0)));
  EXPECT_EQ(lookup(kRoot, "b").id, a);
  EXPECT_EQ(read_path("b"), "of a");
}

TEST_F(FsTest, RenameCanExchange) {
  source_.put("a", "of a");
  source_.put("b", "of b");
  mount();
  const KernelId a = lookup(kRoot, "a").id;
  const KernelId b = lookup(kRoot, "b").id;
  ASSERT_TRUE(fs_->run(files().rename(kRoot, "a", kRoot, "b", RENAME_EXCHANGE)));
  EXPECT_EQ(lookup(kRoot, "a").id, b);
  EXPECT_EQ(lookup(kRoot, "b").id, a);
  EXPECT_EQ(read_path("a"), "of b");
}

TEST_F(FsTest, ARefusedRenameChangesNothing) {
  source_.put("a", "of a");
  source_.put("b", "of b");
  mount();
  const KernelId a = lookup(kRoot, "a").id;
  const auto renamed = fs_->run(files().rename(kRoot, "a", kRoot, "b", RENAME_NOREPLACE));
  ASSERT_FALSE(renamed);
  EXPECT_TRUE(renamed.error().is(Code::kExists));
  EXPECT_EQ(lookup(kRoot, "a").id, a);
  EXPECT_EQ(read_path("b"), "of b");
}

TEST_F(FsTest, ARenamedDirectoryTakesWhatIsBelowWithIt) {
  source_.put("d/e/file", "text");
  mount();
  const KernelId file = walk("d/e/file").id;
  ASSERT_TRUE(fs_->run(files().rename(kRoot, "d", kRoot, "moved", 0)));
  EXPECT_EQ(walk("moved/e/file").id, file);
  const OpenReply opened = open(file);
  EXPECT_EQ(read(opened), "text");
  release(opened);
}

TEST_F(FsTest, AnUnlinkedFileIsReadableWhileOpenAndGoneAfter) {
  source_.put("file", random_text(1, 3 * kBlock));
  mount();
  let_ttl_pass();
  const std::string content = source_.content("file");
  const NodeReply file = lookup(kRoot, "file");
  const OpenReply opened = open(file.id);
  EXPECT_EQ(read(opened, 0, kBlock), content.substr(0, kBlock));
  ASSERT_TRUE(fs_->run(files().unlink(kRoot, "file")));
  EXPECT_EQ(lookup(kRoot, "file").id.value, 0U);
  EXPECT_EQ(read(opened), content);
  EXPECT_EQ(attributes(file.id).attributes.nlink, 0U);
  release(opened);
  forget_all();
  fs_->stack.settle();
  fs_->stack.claim();
  EXPECT_FALSE(*fs_->stack.catalog->node(NodeId{file.id.node()}));
  EXPECT_EQ(fs_->stack.residents->used_bytes(), 0U);
}

TEST_F(FsTest, UnlinkOfOneNameLeavesTheOther) {
  source_.put("file", "text");
  mount();
  const NodeReply file = lookup(kRoot, "file");
  note(fs_->run(files().link(file.id, kRoot, "other")));
  ASSERT_TRUE(fs_->run(files().unlink(kRoot, "file")));
  EXPECT_EQ(lookup(kRoot, "other").id, file.id);
  EXPECT_EQ(attributes(file.id).attributes.nlink, 1U);
  EXPECT_EQ(read_path("other"), "text");
}

TEST_F(FsTest, DirectoriesComeAndGo) {
  mount();
  const NodeReply made = note(fs_->run(files().make_directory(kRoot, "d", 0777, kCaller)));
  EXPECT_EQ(made.attributes.mode, static_cast<uint32_t>(S_IFDIR | 0755));
  const CreateReply file = create(made.id, "file");
  release(file.open);
  const auto refused = fs_->run(files().remove_directory(kRoot, "d"));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), static_cast<Code>(ENOTEMPTY));
  ASSERT_TRUE(fs_->run(files().unlink(made.id, "file"), made.id));
  ASSERT_TRUE(fs_->run(files().remove_directory(kRoot, "d")));
  EXPECT_EQ(lookup(kRoot, "d").id.value, 0U);
}

// --- listings

TEST_F(FsTest, AListingIsAskedOnceWhileTheDirectoryIsTheSame) {
  source_.put("d/a", "");
  source_.put("d/b", "");
  mount();
  let_ttl_pass();
  const KernelId directory = lookup(kRoot, "d").id;
  EXPECT_THAT(list(directory), UnorderedElementsAre("a", "b"));
  EXPECT_THAT(list(directory), UnorderedElementsAre("a", "b"));
  EXPECT_EQ(calls(CallKind::kList), 1U);
  remount();
  EXPECT_THAT(list(walk("d").id), UnorderedElementsAre("a", "b"));
  EXPECT_EQ(calls(CallKind::kList), 1U);
  source_.put("d/c", "");
  let_ttl_pass();
  EXPECT_THAT(list(walk("d").id), UnorderedElementsAre("a", "b", "c"));
}

TEST_F(FsTest, AListingShowsWhatWasChangedHere) {
  source_.put("d/a", "");
  source_.put("d/b", "");
  mount();
  let_ttl_pass();
  const KernelId directory = lookup(kRoot, "d").id;
  list(directory);
  release(create(directory, "c").open);
  ASSERT_TRUE(fs_->run(files().unlink(directory, "a"), directory));
  EXPECT_THAT(list(directory), UnorderedElementsAre("b", "c"));
}

TEST_F(FsTest, AListingThatAChangeOvertakesIsNotKept) {
  source_.put("d/a", "");
  mount();
  let_ttl_pass();
  const KernelId directory = lookup(kRoot, "d").id;
  const auto handle = fs_->run(files().open_directory(directory), directory);
  ASSERT_TRUE(handle);
  auto hold = source_.hold(CallKind::kList, Stage::kAfter);
  auto late = fs_->start(directory, files().read_directory(*handle, 0, 500, false));
  hold->wait_for_calls(1);
  release(create(directory, "b").open);
  hold->release();
  ASSERT_TRUE(late.get());
  files().release_directory(*handle);
  let_ttl_pass();
  EXPECT_THAT(list(directory), UnorderedElementsAre("a", "b"));
}

TEST_F(FsTest, AListingWithAttributesCountsEachAsALookup) {
  for (int i = 0; i < 100; ++i) source_.put("d/" + std::to_string(i), std::string(i, 'x'));
  mount();
  const KernelId directory = lookup(kRoot, "d").id;
  EXPECT_EQ(list(directory, true).size(), 100U);
  EXPECT_EQ(lookups_.size(), 101U);
  const uint64_t asked = calls(CallKind::kAttributes);
  EXPECT_EQ(lookup(directory, "42").attributes.size_bytes, 42U);
  EXPECT_EQ(calls(CallKind::kAttributes), asked);
}

TEST_F(FsTest, TheNumbersOfAListingAreThoseOfTheNodes) {
  source_.put("d/a", "");
  mount();
  const KernelId directory = lookup(kRoot, "d").id;
  const auto handle = fs_->run(files().open_directory(directory), directory);
  const auto batch = fs_->run(files().read_directory(*handle, 0, 500, false), directory);
  ASSERT_TRUE(batch);
  ASSERT_EQ(batch->size(), 3U);
  EXPECT_EQ((*batch)[0].inode, directory.node());
  EXPECT_EQ((*batch)[1].inode, kRootNode.value);
  EXPECT_EQ((*batch)[2].inode, lookup(directory, "a").id.node());
  files().release_directory(*handle);
}

// --- the source is away

TEST_F(FsTest, WhatIsCachedIsServedWithoutTheSource) {
  source_.put("d/file", random_text(1, 3 * kBlock));
  mount();
  let_ttl_pass();
  const std::string content = read_path("d/file");
  list(walk("d").id);
  fs_->stack.claim();
  for (const bool restart : {false, true}) {
    SCOPED_TRACE(restart);
    source_.set_down(std::nullopt);
    if (restart) remount();
    source_.set_down(Code::kSourceDown);
    let_ttl_pass();
    EXPECT_EQ(read_path("d/file"), content);
    EXPECT_THAT(list(walk("d").id), ElementsAre("file"));
  }
}

TEST_F(FsTest, AMountWithoutTheSourceServesWhatIsCached) {
  source_.put("file", random_text(1, 3 * kBlock));
  mount();
  let_ttl_pass();
  const std::string content = read_path("file");
  fs_->stack.claim();
  source_.set_down(Code::kTimedOut);
  remount();
  ASSERT_TRUE(fs_->loaded) << fs_->loaded.error().message();
  EXPECT_EQ(read_path("file"), content);
}

TEST_F(FsTest, WithoutTheSourceNothingIsSaidToBeMissing) {
  source_.put("known", "text");
  source_.mkdir("d");
  mount();
  walk("known");
  const KernelId directory = walk("d").id;
  EXPECT_EQ(lookup(kRoot, "missing").id.value, 0U);
  let_ttl_pass();
  for (const Code code : {Code::kSourceDown, Code::kTimedOut, Code::kIo}) {
    source_.set_down(code);
    for (const char* name : {"missing", "never asked"}) {
      const auto found = try_lookup(kRoot, name);
      ASSERT_FALSE(found) << name;
      EXPECT_FALSE(found.error().is(Code::kNotFound));
    }
    EXPECT_NE(lookup(kRoot, "known").id.value, 0U);
    const auto listed = try_list(directory);
    ASSERT_FALSE(listed);
    EXPECT_FALSE(listed.error().is(Code::kNotFound));
    const auto opened = try_open(lookup(kRoot, "known").id);
    if (opened) {  // an open may succeed, a read of what is not cached may not
      const auto text = try_read(*opened);
      ASSERT_FALSE(text);
      EXPECT_FALSE(text.error().is(Code::kNotFound));
      release(*opened);
    }
  }
  source_.set_down(std::nullopt);
  EXPECT_EQ(read_path("known"), "text");
}

// --- data

TEST_F(FsTest, ACreatedFileIsCachedAsItIsWritten) {
  mount();
  const std::string content = random_text(1, 4 * kBlock + 100);
  const CreateReply made = create(kRoot, "file");
  for (size_t at = 0; at < content.size(); at += 1000)
    ASSERT_TRUE(write(made.open, content.substr(at, 1000), at));
  release(made.open);
  EXPECT_EQ(source_.content("file"), content);
  EXPECT_EQ(read_path("file"), content);
  EXPECT_EQ(calls(CallKind::kRead), 0U);
  let_ttl_pass();
  EXPECT_EQ(read_path("file"), content);
  fs_->stack.claim();
  remount();
  EXPECT_EQ(read_path("file"), content);
  EXPECT_EQ(calls(CallKind::kRead), 0U);
}

TEST_F(FsTest, AChangeOutsideIsSeenAtTheNextOpen) {
  source_.put("file", random_text(1, 3 * kBlock));
  mount();
  let_ttl_pass();
  read_path("file");
  kernel().take_invalidated_nodes();
  const KernelId id = lookup(kRoot, "file").id;
  source_.overwrite("file", 100, "changed");
  let_ttl_pass();
  // What the kernel has of the old version goes when it is told, at some later time: so the new one
  // is another inode.
  EXPECT_NE(lookup(kRoot, "file").id, id);
  EXPECT_THAT(kernel().take_invalidated_nodes(), Contains(id));
  EXPECT_EQ(read_path("file"), source_.content("file"));
}

TEST_F(FsTest, OpenRevalidatesWithinTheTimeToLive) {
  source_.put("file", random_text(1, 3 * kBlock));
  mount();
  let_ttl_pass();
  read_path("file");
  const KernelId id = lookup(kRoot, "file").id;
  source_.overwrite("file", 100, "changed");
  const auto refused = try_open(id);
  ASSERT_FALSE(refused);
  EXPECT_TRUE(refused.error().is(Code::kStale));
  const NodeReply fresh = lookup(kRoot, "file");
  EXPECT_NE(fresh.id, id);
  EXPECT_EQ(fresh.attributes.inode, id.node());
  const OpenReply opened = open(fresh.id);
  EXPECT_EQ(read(opened), source_.content("file"));
  release(opened);
}

TEST_F(FsTest, TheKernelsPagesAreKeptWhileTheyAreRight) {
  source_.put("file", random_text(1, 3 * kBlock));
  mount();
  let_ttl_pass();
  const KernelId id = lookup(kRoot, "file").id;
  const OpenReply first = open(id);
  release(first);
  const OpenReply second = open(id);
  EXPECT_TRUE(second.keep_cache);
  release(second);
  source_.overwrite("file", 0, "outside");
  let_ttl_pass();
  EXPECT_FALSE(try_open(id));
  // Who comes to it all the same finds none of its pages.
  const OpenReply third = open(id);
  EXPECT_FALSE(third.keep_cache);
  release(third);
}

TEST_F(FsTest, WhatWasWrittenThroughAnInodeItsPagesHave) {
  source_.put("file", random_text(1, 3 * kBlock));
  mount();
  let_ttl_pass();
  const KernelId id = lookup(kRoot, "file").id;
  release(open(id));
  const OpenReply writer = open(id, O_RDWR);
  ASSERT_TRUE(write(writer, "written here", 10));
  release(writer);
  EXPECT_THAT(kernel().take_invalidated_nodes(), Not(Contains(id)));
  const OpenReply again = open(id);
  EXPECT_TRUE(again.keep_cache);
  EXPECT_EQ(read(again), source_.content("file"));
  release(again);
}

TEST_F(FsTest, TruncationAtOpenEmptiesTheFile) {
  source_.put("file", random_text(1, 3 * kBlock));
  mount();
  let_ttl_pass();
  read_path("file");
  const OpenReply opened = open(lookup(kRoot, "file").id, O_RDWR | O_TRUNC);
  EXPECT_EQ(source_.content("file"), "");
  EXPECT_EQ(read(opened), "");
  ASSERT_TRUE(write(opened, "new", 5));
  EXPECT_EQ(read(opened), std::string(5, '\0') + "new");
  release(opened);
  EXPECT_EQ(fs_->stack.metric("larder_open_handles"), 0);
}

TEST_F(FsTest, AWriteThroughAReadOnlyHandleIsRefused) {
  source_.put("file", "text");
  mount();
  const OpenReply opened = open(lookup(kRoot, "file").id);
  const auto written = write(opened, "no");
  ASSERT_FALSE(written);
  EXPECT_EQ(written.error().code(), static_cast<Code>(EBADF));
  release(opened);
}

// Housekeeping takes files from the catalog, without the names that lead to them.
TEST_F(FsTest, ARecordKeepsItsNameWhoeverWritesItAgain) {
  source_.put("d/a", random_text(1, 2 * kBlock));
  mount();
  let_ttl_pass();
  read_path("d/a");
  fs_->stack.claim();
  const NodeId node{walk("d/a").id.node()};
  remount();
  const auto before = *fs_->stack.catalog->node(node);
  ASSERT_TRUE(before && before->parent);
  ASSERT_TRUE(files().owner_of(node)->persist({}));
  ASSERT_TRUE(files().evict(node, UINT64_MAX));
  const auto after = *fs_->stack.catalog->node(node);
  ASSERT_TRUE(after);
  EXPECT_EQ(after->parent, before->parent);
  EXPECT_EQ(after->name, "a");
  EXPECT_FALSE(after->object);
}

// --- passthrough

TEST_F(FsPassthroughTest, OnlyWhatIsResidentIsOpenedInPassthrough) {
  mount();
  kernel().set_passthrough(true);
  let_ttl_pass();
  const KernelId id = lookup(kRoot, "file").id;
  auto hold = source_.hold(CallKind::kRead);
  const OpenReply absent = open(id);
  EXPECT_EQ(absent.backing_id, 0);
  hold->release();
  read(absent);
  fs_->stack.settle();
  // An inode's mode does not change while it is open.
  const OpenReply second = open(id);
  EXPECT_EQ(second.backing_id, 0);
  release(absent);
  release(second);
  const OpenReply third = open(id);
  EXPECT_GT(third.backing_id, 0);
  const OpenReply fourth = open(id);
  EXPECT_EQ(fourth.backing_id, third.backing_id);
  EXPECT_EQ(kernel().backings(), 1U);
  release(third);
  EXPECT_EQ(kernel().backings(), 1U);
  release(fourth);
  EXPECT_EQ(kernel().backings(), 0U);
}

// The kernel sends no release for what is open when the mount goes.
TEST_F(FsPassthroughTest, WhatIsOpenAtTheEndIsClosed) {
  source_.put("written", "1");
  open_resident();
  open(lookup(kRoot, "written").id, O_RDWR);
  ASSERT_TRUE(fs_->run(files().open_directory(kRoot)));
  const Gauge& handles = fs_->stack.registry.gauge("larder_open_handles", "Open files.");
  EXPECT_EQ(kernel().backings(), 1U);
  EXPECT_EQ(handles.value(), 2);
  fs_->stop();
  EXPECT_EQ(kernel().backings(), 0U);
  EXPECT_EQ(handles.value(), 0);
}

TEST_F(FsPassthroughTest, AWriterGetsAnInodeOfItsOwn) {
  const OpenReply reader = open_resident();
  const KernelId old_id = lookup(kRoot, "file").id;
  const auto refused = try_open(old_id, O_RDWR);
  ASSERT_FALSE(refused);
  EXPECT_TRUE(refused.error().is(Code::kStale));
  const NodeReply fresh = lookup(kRoot, "file");
  EXPECT_NE(fresh.id, old_id);
  EXPECT_EQ(fresh.id.node(), old_id.node());
  EXPECT_EQ(fresh.attributes.inode, old_id.node());  // st_ino stays
  const OpenReply writer = open(fresh.id, O_RDWR);
  EXPECT_EQ(writer.backing_id, 0);
  ASSERT_TRUE(write(writer, "new", 0));
  // The reader's object has it; what the kernel cached of the other inode is invalidated.
  EXPECT_THAT(kernel().take_invalidated_nodes(), Contains(old_id));
  EXPECT_EQ(read(reader).substr(0, 3), "new");
  release(writer);
  release(reader);
  EXPECT_EQ(kernel().backings(), 0U);
}

TEST_F(FsPassthroughTest, TheInodeAWriterIsSentToIsKeptForHim) {
  const OpenReply reader = open_resident();
  const KernelId old_id = lookup(kRoot, "file").id;
  constexpr pid_t kWriter = 7, kOther = 8;
  EXPECT_FALSE(try_open(old_id, O_RDWR, kWriter));
  // Another finds the fresh inode first, and would make it a passthrough one.
  const KernelId fresh = lookup(kRoot, "file").id;
  const OpenReply other = open(fresh, O_RDONLY, kOther);
  EXPECT_EQ(other.backing_id, 0);
  release(other);
  forget_all();  // nor is it forgotten which it was
  EXPECT_EQ(lookup(kRoot, "file").id, fresh);
  const OpenReply writer = open(fresh, O_RDWR, kWriter);
  release(writer);
  const OpenReply later = open(fresh, O_RDONLY, kOther);
  EXPECT_GT(later.backing_id, 0);
  release(later);
  release(reader);
  forget_all();
  EXPECT_EQ(kernel().backings(), 0U);
}

TEST_F(FsPassthroughTest, AnOpenerWithoutANameToLookUpJoinsThoseItFinds) {
  const OpenReply reader = open_resident();
  const KernelId id = lookup(kRoot, "file").id;
  constexpr pid_t kOpener = 7;
  // As through /proc/self/fd, or a bind mount of the file.
  EXPECT_FALSE(try_open(id, O_RDWR, kOpener));
  const OpenReply writer = open(id, O_RDWR, kOpener);
  EXPECT_EQ(writer.backing_id, reader.backing_id);
  EXPECT_TRUE(writer.direct_io);
  ASSERT_TRUE(write(writer, "new", 0));
  EXPECT_EQ(read_object(), source_.content("file"));
  release(reader);
  release(writer);
  forget_all();
  EXPECT_EQ(kernel().backings(), 0U);
}

TEST_F(FsPassthroughTest, WhoOnlyWritesDoesSoBesideReaders) {
  const OpenReply reader = open_resident();
  const KernelId id = lookup(kRoot, "file").id;
  const OpenReply writer = open(id, O_WRONLY);
  EXPECT_EQ(writer.backing_id, reader.backing_id);
  EXPECT_TRUE(writer.direct_io);
  ASSERT_TRUE(write(writer, random_text(2, 2 * kBlock), 2 * kBlock + 7));
  EXPECT_EQ(read_object(), source_.content("file"));
  const OpenReply emptied = open(id, O_WRONLY | O_TRUNC);
  EXPECT_EQ(read_object(), "");
  for (const OpenReply& open : {reader, writer, emptied}) release(open);
  EXPECT_EQ(kernel().backings(), 0U);
}

// --- changed at the source while it is open in passthrough

TEST_F(FsPassthroughTest, WhatIsChangedInPlaceReachesTheReadersObject) {
  const OpenReply reader = open_resident();
  const KernelId id = lookup(kRoot, "file").id;
  std::string content = random_text(1, 3 * kBlock);
  for (const size_t size : {content.size(), 5 * kBlock + 100, 5 * kBlock + 300, kBlock + 17}) {
    content = random_text(size, size);
    source_.cut("file", std::min<uint64_t>(size, source_.content("file").size()));
    source_.overwrite("file", 0, content);
    let_ttl_pass();
    files().watch_step();
    settle_all();
    EXPECT_EQ(read_object(), content);
    EXPECT_EQ(attributes(id).attributes.size_bytes, size);
  }
  EXPECT_EQ(kernel().backings(), 1U);
  // Who opens it is with the others, and what it writes is seen by them.
  const OpenReply other = open(id);
  EXPECT_EQ(other.backing_id, reader.backing_id);
  const OpenReply writer = open(id, O_WRONLY);
  ASSERT_TRUE(write(writer, "written on the mount", kBlock));
  EXPECT_EQ(read_object(), source_.content("file"));
  for (const OpenReply& open : {reader, other, writer}) release(open);
  EXPECT_EQ(kernel().backings(), 0U);
}

TEST_F(FsPassthroughTest, AGrowingFileShowsItsNewSizeWithItsNewBytes) {
  const OpenReply reader = open_resident();
  const KernelId id = lookup(kRoot, "file").id;
  const std::string before = read_object();
  auto hold = source_.hold(CallKind::kRead);
  source_.overwrite("file", before.size(), "a new line\n");
  let_ttl_pass();
  EXPECT_EQ(attributes(id).attributes.size_bytes, before.size());
  hold->wait_for_calls(1);
  EXPECT_EQ(read_object(), before);
  // Whoever opens it meanwhile reads through the daemon.
  auto opening = fs_->start(id, files().open(id, O_RDONLY, 1));
  hold->release();
  const auto other = opening.get();
  ASSERT_TRUE(other);
  settle_all();
  EXPECT_EQ(other->backing_id, reader.backing_id);
  EXPECT_EQ(read(*other), source_.content("file"));
  EXPECT_EQ(read_object(), source_.content("file"));
  EXPECT_EQ(attributes(id).attributes.size_bytes, source_.content("file").size());
  release(*other);
  release(reader);
}

TEST_F(FsPassthroughTest, AnAppendWaitsForTheBytesBeforeIt) {
  const OpenReply reader = open_resident();
  const KernelId id = lookup(kRoot, "file").id;
  const OpenReply writer = open(id, O_WRONLY);
  source_.overwrite("file", 3 * kBlock, "theirs");
  let_ttl_pass();
  attributes(id);
  ASSERT_TRUE(write(writer, "ours", 3 * kBlock + 6));
  EXPECT_EQ(read_object().substr(3 * kBlock), "theirsours");
  settle_all();
  EXPECT_EQ(read_object(), source_.content("file"));
  release(writer);
  release(reader);
}

TEST_F(FsPassthroughTest, WhatCannotBeFetchedNowIsFetchedLater) {
  const OpenReply reader = open_resident();
  const std::string before = read_object();
  source_.overwrite("file", 0, random_text(3, 4 * kBlock));
  source_.fail_next(CallKind::kRead, Code::kIo);
  let_ttl_pass();
  files().watch_step();
  settle_all();
  EXPECT_EQ(read_object(), before);
  let_ttl_pass();
  files().watch_step();
  settle_all();
  EXPECT_EQ(read_object(), source_.content("file"));
  release(reader);
}

TEST_F(FsPassthroughTest, OnlyWhatIsOpenIsAskedAbout) {
  const OpenReply reader = open_resident();
  const uint64_t before = source_.calls(CallKind::kAttributes);
  const auto due = files().watch_step();
  ASSERT_TRUE(due);
  EXPECT_GT(*due, clock_.monotonic());
  EXPECT_EQ(source_.calls(CallKind::kAttributes), before);
  let_ttl_pass();
  files().watch_step();
  settle_all();
  EXPECT_EQ(source_.calls(CallKind::kAttributes), before + 1);
  release(reader);
  let_ttl_pass();
  EXPECT_EQ(files().watch_step(), std::nullopt);
  settle_all();
  EXPECT_EQ(source_.calls(CallKind::kAttributes), before + 1);
}

TEST_F(FsPassthroughTest, AReaderOfAnotherFileOfThatNameGetsAnInodeOfItsOwn) {
  const OpenReply reader = open_resident();
  const KernelId old_id = lookup(kRoot, "file").id;
  const std::string before = read_object();
  source_.put("new", "another version");
  source_.move("new", "file");
  let_ttl_pass();
  const auto refused = try_open(old_id);
  ASSERT_FALSE(refused);
  EXPECT_TRUE(refused.error().is(Code::kStale));
  const NodeReply fresh = lookup(kRoot, "file");
  EXPECT_NE(fresh.id, old_id);
  const OpenReply opened = open(fresh.id);
  EXPECT_EQ(read(opened), source_.content("file"));
  EXPECT_EQ(read(reader), before);
  release(opened);
  release(reader);
  forget_all();
  EXPECT_EQ(kernel().backings(), 0U);
}

TEST_F(FsPassthroughTest, WhatIsOpenInPassthroughIsNotEvicted) {
  const OpenReply reader = open_resident();
  const KernelId id = lookup(kRoot, "file").id;
  EXPECT_FALSE(files().evict(NodeId{id.node()}, 1));
  release(reader);
  EXPECT_TRUE(files().evict(NodeId{id.node()}, 1));
}

// --- nothing stays behind

TEST_F(FsTest, NothingStaysInMemoryThatTheKernelHasForgotten) {
  for (int i = 0; i < 20; ++i)
    source_.put("d" + std::to_string(i % 3) + "/" + std::to_string(i), random_text(i + 1, kBlock));
  mount();
  let_ttl_pass();
  const int64_t at_first = nodes_in_memory();
  EXPECT_EQ(at_first, 1);
  for (const std::string& path : source_.files()) read_path(path);
  for (const char* directory : {"d0", "d1", "d2"}) list(walk(directory).id, true);
  release(create(kRoot, "new").open);
  ASSERT_TRUE(fs_->run(files().rename(kRoot, "new", walk("d0").id, "moved", 0)));
  ASSERT_TRUE(fs_->run(files().unlink(walk("d1").id, "1")));
  let_ttl_pass();
  for (const std::string& path : source_.files()) walk(path);
  EXPECT_GT(nodes_in_memory(), at_first);
  fs_->stack.settle();
  fs_->stack.claim();
  forget_all();
  EXPECT_EQ(nodes_in_memory(), at_first);
  EXPECT_EQ(fs_->stack.metric("larder_open_handles"), 0);
}

TEST_F(FsTest, AFailedCreateOrOpenLeavesNothingBehind) {
  source_.put("file", "text");
  mount();
  source_.fail_next(CallKind::kCreate, Code::kNoSpace);
  EXPECT_FALSE(fs_->run(files().create(kRoot, "new", 0644, O_RDWR, kCaller)));
  const KernelId id = lookup(kRoot, "file").id;
  source_.fail_next(CallKind::kOpen, static_cast<Code>(EACCES));
  EXPECT_FALSE(try_open(id, O_RDWR));
  forget_all();
  EXPECT_EQ(nodes_in_memory(), 1);
  EXPECT_EQ(fs_->stack.metric("larder_open_handles"), 0);
}

// As an NFS server and open_by_handle_at(2) find files.
TEST_F(FsTest, AFileIsFoundByItsNumberAfterEverybodyForgotIt) {
  source_.put("d/e/a", "text");
  source_.put("gone", "x");
  let_ttl_pass();
  mount();
  const KernelId a = walk("d/e/a").id;
  const KernelId gone = walk("gone").id;
  forget_all();
  EXPECT_EQ(lookup(a, ".").id, a);
  let_ttl_pass();
  EXPECT_EQ(attributes(a).attributes.size_bytes, 4U);
  EXPECT_EQ(lookup(a, "..").id, walk("d/e").id);
  ASSERT_TRUE(fs_->run(files().unlink(kRoot, "gone")));
  forget_all();
  EXPECT_FALSE(try_lookup(gone, "."));
}

// --- a catalog without room

TEST_F(FsTest, WithoutRoomInTheCatalogOnlyWhatHasDataIsRecorded) {
  const std::string content = testing::random_text(1, kBlock);
  source_.put("d/e/cached", content);
  for (int i = 0; i < 100; ++i) source_.put("d/f" + std::to_string(i), "x");
  let_ttl_pass();
  mount();
  walk("d/e");
  catalog::Catalog& catalog = *fs_->stack.catalog;
  catalog.set_limit_bytes(0);
  const uint64_t before = catalog.live_bytes();
  for (int round = 0; round < 2; ++round) {
    EXPECT_EQ(list(walk("d").id, true).size(), 101U);
    forget_all();
    let_ttl_pass();
  }
  const NodeReply f1 = walk("d/f1");
  EXPECT_EQ(f1.attributes.size_bytes, 1U);
  EXPECT_EQ(walk("d/f1").id, f1.id);
  // Records of directories are written anew, none is added.
  EXPECT_LE(catalog.live_bytes(), before + 256);
  EXPECT_EQ(read_path("d/e/cached"), content);
  fs_->stack.claim();
  EXPECT_GT(catalog.live_bytes(), before);
  forget_all();
  remount();
  const uint64_t reads = source_.calls(CallKind::kRead);
  EXPECT_EQ(read_path("d/e/cached"), content);
  EXPECT_EQ(source_.calls(CallKind::kRead), reads);
  EXPECT_EQ(walk("d/f1").attributes.size_bytes, 1U);
}

TEST_F(FsTest, WithoutRoomInTheCatalogWhatLosesItsDataIsForgotten) {
  source_.put("d/a", testing::random_text(1, kBlock));
  let_ttl_pass();
  mount();
  const NodeId d{walk("d").id.node()};
  const NodeReply a = walk("d/a");
  read_path("d/a");
  fs_->stack.claim();
  catalog::Catalog& catalog = *fs_->stack.catalog;
  catalog.set_limit_bytes(0);
  EXPECT_TRUE(*catalog.name(d, "a"));
  EXPECT_TRUE(files().evict(NodeId{a.id.node()}, 1));
  EXPECT_FALSE(*catalog.name(d, "a"));
  EXPECT_FALSE(*catalog.node(NodeId{a.id.node()}));
  EXPECT_EQ(walk("d/a").id, a.id);  // still known in memory
  read_path("d/a");
  fs_->stack.claim();
  EXPECT_TRUE(*catalog.name(d, "a"));
  EXPECT_TRUE(*catalog.node(NodeId{a.id.node()}));
}

TEST_F(FsTest, ARemovedDirectoryTakesItsListingAlong) {
  source_.put("d/a", "x");
  let_ttl_pass();
  mount();
  const NodeId d{walk("d").id.node()};
  list(walk("d").id);
  EXPECT_TRUE(*fs_->stack.catalog->listing(d, 1));
  EXPECT_TRUE(fs_->run(files().unlink(walk("d").id, "a")));
  EXPECT_TRUE(fs_->run(files().remove_directory(kRoot, "d")));
  EXPECT_FALSE(*fs_->stack.catalog->listing(d, 1));
}

TEST_F(FsTest, WithoutRoomInTheCatalogAStoredListingIsNotBelieved) {
  source_.put("d/a", "x");
  let_ttl_pass();
  mount();
  EXPECT_EQ(list(walk("d").id).size(), 1U);
  source_.put("d/b", "x");
  let_ttl_pass();
  fs_->stack.catalog->set_limit_bytes(0);
  EXPECT_EQ(list(walk("d").id).size(), 2U);
  forget_all();
  remount();
  EXPECT_EQ(list(walk("d").id).size(), 2U);
}

// A directory remembers so many names; of those the catalog has no room for it is the only one.
TEST_F(FsTest, InAFullCatalogALargeDirectoryKeepsTheNamesOfWhatIsInMemory) {
  constexpr int kNames = 1 << 16;
  source_.put("d/a", "x");
  let_ttl_pass();
  mount();
  const KernelId d = walk("d").id;
  fs_->stack.catalog->set_limit_bytes(0);
  const KernelId a = lookup(d, "a").id;
  ASSERT_FALSE(*fs_->stack.catalog->name(NodeId{d.node()}, "a"));
  for (int i = 0; i <= kNames; ++i) try_lookup(d, "missing" + std::to_string(i));
  EXPECT_EQ(lookup(d, "a").id, a);
}

}  // namespace
}  // namespace larder::fs
