// Directories of the source that are renamed, here and elsewhere, while somebody works in them.
#include <linux/fs.h>

#include <chrono>
#include <thread>

#include "fs/source_directories.h"
#include "fs_fixture.h"

namespace larder::fs {
namespace {

struct FakeDirectory final : source::Directory {
  explicit FakeDirectory(uint64_t number_in) : number_(number_in) {}
  uint64_t number() const override { return number_; }
  bool is_current() const override { return current; }
  const uint64_t number_;
  bool current = true;
};

TEST(SourceDirectories, TheOneUsedLongestAgoIsClosedForAnother) {
  Registry registry;
  SourceDirectories table(2, registry);
  const auto open = [&](uint64_t id) {
    auto directory = std::make_shared<FakeDirectory>(id + 100);
    table.add(NodeId{id}, directory);
    return std::weak_ptr<FakeDirectory>(directory);
  };
  const auto one = open(1);
  const auto two = open(2);
  EXPECT_TRUE(table.find(NodeId{1}));
  const auto three = open(3);
  EXPECT_TRUE(two.expired());
  EXPECT_FALSE(table.find(NodeId{2}));
  EXPECT_EQ(table.node_of(102), std::nullopt);
  EXPECT_EQ(table.node_of(101), NodeId{1});
  one.lock()->current = false;
  EXPECT_FALSE(table.find(NodeId{1})) << "of a root that was lost";
  EXPECT_TRUE(one.expired());
  open(3);
  EXPECT_TRUE(three.expired());
  EXPECT_EQ(table.node_of(103), NodeId{3});
  table.clear();
  EXPECT_FALSE(table.find(NodeId{3}));
}

TEST(SourceDirectories, OneOpensWhatManyWant) {
  Registry registry;
  SourceDirectories table(2, registry);
  ASSERT_FALSE(table.begin_opening(NodeId{1}));
  std::shared_ptr<io::Event> waited;
  {
    const SourceDirectories::Opening opening(table, NodeId{1});
    waited = table.begin_opening(NodeId{1});
    ASSERT_TRUE(waited);
    EXPECT_FALSE(waited->is_set());
  }
  EXPECT_TRUE(waited->is_set());
  EXPECT_FALSE(table.begin_opening(NodeId{1}));
  const SourceDirectories::Opening again(table, NodeId{1});
}

using source::InodeNumbers;

class FsPlaces : public FsTest, public ::testing::WithParamInterface<InodeNumbers> {
 protected:
  FsPlaces() {
    source_.set_inode_numbers(GetParam());
    source_.put("Y/d/who", "Y");
    source_.put("Z/d/who", "Z");
  }
  void mount_with(size_t directories_max) {
    testing::StackOptions options;
    options.directories_max = directories_max;
    mount({}, options);
    let_ttl_pass();
  }
  bool try_create(KernelId parent, const std::string& name) {
    const auto reply =
        fs_->run(files().create(parent, name, 0644, O_RDWR | O_EXCL, kCaller), parent);
    if (!reply) return false;
    note(reply->node);
    release(reply->open);
    return true;
  }
  Result<void> exchange(const std::string& name, const std::string& other) {
    return fs_->run(files().rename(kRoot, name, kRoot, other, RENAME_EXCHANGE));
  }
  const Gauge& open_at_the_source() {
    return fs_->stack.registry.gauge("larder_source_directories_open",
                                     "Directories of the source that are held open.");
  }
  // So that what was open is closed for it.
  void use_other_directories() {
    for (const std::string name : {"other", "another", "third"}) {
      source_.mkdir(name);
      list(walk(name).id);
    }
  }
};

INSTANTIATE_TEST_SUITE_P(Numbers, FsPlaces,
                         ::testing::Values(InodeNumbers::kStable, InodeNumbers::kWhileMounted,
                                           InodeNumbers::kUnreliable));

TEST_P(FsPlaces, WhoWorksInADirectoryWorksThereWhateverIsRenamedAbove) {
  mount_with(64);
  const KernelId inside = walk("Y/d").id;
  EXPECT_TRUE(try_create(inside, "first"));
  source_.exchange("Y", "Z");
  EXPECT_TRUE(try_create(inside, "second"));
  EXPECT_TRUE(source_.exists("Z/d/second"));
  EXPECT_EQ(list(inside), (std::vector<std::string>{"first", "second", "who"}));
  ASSERT_TRUE(fs_->run(files().unlink(inside, "who")));
  EXPECT_EQ(source_.content("Y/d/who"), "Z");
  EXPECT_FALSE(source_.exists("Z/d/who"));
  let_ttl_pass();
  EXPECT_EQ(attributes(inside).attributes.inode, inside.node());
}

TEST_P(FsPlaces, RenamedHereItIsTheSameAlsoWhenItHasToBeOpenedAgain) {
  mount_with(2);
  const KernelId inside = walk("Y/d").id;
  for (int round = 0; round < 4; ++round) {
    ASSERT_TRUE(exchange("Y", "Z"));
    use_other_directories();
    EXPECT_TRUE(try_create(inside, std::to_string(round)));
    EXPECT_TRUE(source_.exists((round % 2 == 0 ? "Z/d/" : "Y/d/") + std::to_string(round)));
  }
  EXPECT_LE(fs_->stack.metric("larder_source_directories_open"), 2);
}

TEST_P(FsPlaces, NobodyIsOnTheWayByNamesWhileADirectoryIsRenamed) {
  mount_with(2);
  const KernelId inside = walk("Y/d").id;
  use_other_directories();
  const auto renaming = source_.hold(CallKind::kRename, testing::FakeSource::Stage::kAfter);
  auto exchanged = fs_->start(kRoot, files().rename(kRoot, "Y", kRoot, "Z", RENAME_EXCHANGE));
  renaming->wait_for_calls(1);  // the source has done it, the names here are old
  auto created = fs_->start(inside, files().create(inside, "new", 0644, O_RDWR | O_EXCL, kCaller));
  renaming->release();
  ASSERT_TRUE(exchanged.get());
  const auto reply = created.get();
  ASSERT_TRUE(reply) << reply.error().message();
  note(reply->node);
  release(reply->open);
  EXPECT_TRUE(source_.exists("Z/d/new"));
  EXPECT_FALSE(source_.exists("Y/d/new"));
}

TEST_P(FsPlaces, WhatIsRenamedIsWhatTheNameLeadsToByThen) {
  if (GetParam() == InodeNumbers::kUnreliable) GTEST_SKIP() << "the numbers do not tell";
  mount_with(2);
  const KernelId inside = walk("Y/d").id;
  use_other_directories();
  let_ttl_pass();
  const auto opening = source_.hold(CallKind::kOpenDirectory, Stage::kBefore);
  auto created = fs_->start(inside, files().create(inside, "new", 0644, O_RDWR | O_EXCL, kCaller));
  opening->wait_for_calls(1);
  auto renaming = fs_->start(kRoot, files().rename(kRoot, "Y", kRoot, "X", 0));  // waits for it
  source_.exchange("Y", "Z");
  const KernelId other = lookup(kRoot, "Y").id;
  opening->release();
  ASSERT_TRUE(renaming.get());
  const auto reply = created.get();
  ASSERT_TRUE(reply) << reply.error().message();
  note(reply->node);
  release(reply->open);
  EXPECT_TRUE(source_.exists("Z/d/new"));
  EXPECT_EQ(lookup(kRoot, "X").id, other);
  EXPECT_TRUE(try_create(other, "new"));
  EXPECT_TRUE(source_.exists("X/new"));
}

TEST_P(FsPlaces, ALookUpThatARenameOvertakesIsMadeAgain) {
  mount_with(64);
  const KernelId before = walk("Y").id;
  let_ttl_pass();
  const auto asking = source_.hold(CallKind::kAttributes, testing::FakeSource::Stage::kAfter);
  auto looked_up = fs_->start(kRoot, files().lookup(kRoot, "Y", 1));
  asking->wait_for_calls(1);  // answered: Y is what it was
  auto renaming = fs_->start(kRoot, files().rename(kRoot, "Y", kRoot, "X", 0));
  ASSERT_TRUE(renaming.get());
  asking->release();
  const auto reply = looked_up.get();
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->id.value, 0U) << "there is no Y any more";
  EXPECT_EQ(lookup(kRoot, "X").id, before);
  use_other_directories();
  EXPECT_TRUE(try_create(before, "new"));
  EXPECT_TRUE(source_.exists("X/new"));
}

TEST_P(FsPlaces, RenamedElsewhereItIsFoundByItsNumber) {
  if (GetParam() == InodeNumbers::kUnreliable) GTEST_SKIP() << "the numbers do not tell";
  mount_with(2);
  const KernelId in_y = walk("Y/d").id;
  const KernelId in_z = walk("Z/d").id;
  for (int round = 0; round < 3; ++round) {
    use_other_directories();
    source_.exchange("Y", "Z");
    const std::string name = std::to_string(round);
    EXPECT_TRUE(try_create(in_y, "y" + name));
    EXPECT_TRUE(try_create(in_z, "z" + name));
    EXPECT_TRUE(source_.exists((round % 2 == 0 ? "Z/d/y" : "Y/d/y") + name));
    EXPECT_TRUE(source_.exists((round % 2 == 0 ? "Y/d/z" : "Z/d/z") + name));
  }
  let_ttl_pass();
  EXPECT_EQ(walk("Z/d").id, in_y);
  EXPECT_EQ(walk("Y/d").id, in_z);
}

TEST_P(FsPlaces, MovedElsewhereItIsNeverTakenForAnother) {
  if (GetParam() == InodeNumbers::kUnreliable) GTEST_SKIP() << "the numbers do not tell";
  mount_with(2);
  const KernelId inside = walk("Y/d").id;
  const KernelId above = walk("Y").id;
  use_other_directories();
  source_.mkdir("to");
  source_.move("Y", "to/Y");
  source_.put("Y/d/who", "another");
  EXPECT_FALSE(try_create(inside, "new")) << "its way is not known";
  EXPECT_FALSE(source_.exists("Y/d/new"));
  EXPECT_FALSE(source_.exists("to/Y/d/new"));
  EXPECT_FALSE(try_list(inside)) << "not an empty one";
  EXPECT_EQ(walk("to/Y").id, above);  // seen again, it is what it was
  EXPECT_TRUE(try_create(inside, "new"));
  EXPECT_TRUE(source_.exists("to/Y/d/new"));
  EXPECT_EQ(walk("to/Y/d").id, inside);
}

TEST_P(FsPlaces, ADirectoryMovedElsewhereIsKnownAgainWhileItIsOpen) {
  if (GetParam() == InodeNumbers::kUnreliable) GTEST_SKIP() << "the numbers do not tell";
  mount_with(64);
  const KernelId inside = walk("Y/d").id;
  const KernelId above = walk("Y").id;
  list(inside);
  list(above);
  source_.mkdir("to");
  source_.move("Y", "to/Y");
  let_ttl_pass();
  EXPECT_EQ(walk("to/Y").id, above);
  EXPECT_EQ(walk("to/Y/d").id, inside);
  EXPECT_FALSE(try_lookup(kRoot, "Y")->id.value);
  use_other_directories();
  EXPECT_TRUE(try_create(inside, "new"));
  EXPECT_TRUE(source_.exists("to/Y/d/new"));
}

TEST_P(FsPlaces, ANumberThatWasGivenAwayDoesNotBringTheNames) {
  source_.set_next_inode(77);
  source_.mkdir("old");
  source_.put("old/file", "x");
  mount_with(2);
  walk("old/file");
  use_other_directories();
  walk("old/file");
  source_.remove("old/file");
  source_.remove("old");
  source_.set_next_inode(77);
  source_.mkdir("new");
  EXPECT_EQ(try_lookup(lookup(kRoot, "new").id, "file")->id.value, 0U);
}

TEST_P(FsPlaces, AnOpenerByNameIsSentToWhatHasTheNameNow) {
  mount_with(64);
  const KernelId id = walk("Y").id;
  list(id);
  let_ttl_pass();
  source_.exchange("Y", "Z");
  if (GetParam() == InodeNumbers::kUnreliable) return;  // the name's answer is believed
  const auto opened = fs_->run(files().open_directory(id), id);
  ASSERT_FALSE(opened);
  EXPECT_TRUE(opened.error().is(Code::kStale));
  EXPECT_NE(lookup(kRoot, "Y").id, id);
  // Who stands inside comes to the same directory again.
  const auto again = fs_->run(files().open_directory(id), id);
  ASSERT_TRUE(again) << again.error().message();
  files().release_directory(*again);
}

TEST_P(FsPlaces, ADirectoryThatStaysOpenIsKeptThoughNothingWasDoneThere) {
  mount_with(64);
  const KernelId inside = walk("Y/d").id;
  const Gauge& open = open_at_the_source();
  const int64_t before = open.value();
  const auto handle = fs_->run(files().open_directory(inside), inside);
  ASSERT_TRUE(handle);
  // Not by the clock of the test: the reactor sleeps.
  while (open.value() == before) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  source_.exchange("Y", "Z");
  EXPECT_TRUE(try_create(inside, "new"));
  EXPECT_TRUE(source_.exists("Z/d/new"));
  files().release_directory(*handle);
}

TEST_P(FsPlaces, WhatIsRemovedShowsAndTakesNothing) {
  mount_with(64);
  source_.mkdir("gone");
  const KernelId gone = walk("gone").id;
  const auto handle = fs_->run(files().open_directory(gone), gone);
  ASSERT_TRUE(handle);
  ASSERT_TRUE(fs_->run(files().remove_directory(kRoot, "gone")));
  const auto batch = fs_->run(files().read_directory(*handle, 0, 500, false), gone);
  ASSERT_FALSE(batch);  // not even "."
  EXPECT_TRUE(batch.error().is(Code::kNotFound));
  files().release_directory(*handle);
  const auto made = fs_->run(files().create(gone, "new", 0644, O_RDWR, kCaller), gone);
  ASSERT_FALSE(made);
  EXPECT_TRUE(made.error().is(Code::kNotFound));
}

TEST_P(FsPlaces, WhatWasOpenBeneathALostRootIsOpenedAgain) {
  mount_with(64);
  const KernelId inside = walk("Y/d").id;
  EXPECT_TRUE(try_create(inside, "first"));
  source_.lose_root();
  EXPECT_TRUE(try_create(inside, "second"));
  EXPECT_TRUE(source_.exists("Y/d/second"));
}

TEST_P(FsPlaces, AnotherFileThanTheKernelMeansIsNotChanged) {
  if (GetParam() == InodeNumbers::kUnreliable) GTEST_SKIP() << "the numbers do not tell";
  source_.put("a", "one");
  source_.put("b", "other");
  mount_with(64);
  const KernelId a = lookup(kRoot, "a").id;
  source_.exchange("a", "b");
  AttributeChange change;
  change.size_bytes = 0;
  const auto refused = fs_->run(files().set_attributes(a, change, 0), a);
  ASSERT_FALSE(refused);
  EXPECT_TRUE(refused.error().is(Code::kStale));
  EXPECT_EQ(source_.content("a"), "other");
  EXPECT_EQ(source_.content("b"), "one");
}

TEST_P(FsPlaces, AFirstLookBelowCostsOneCallForEachDirectory) {
  source_.put("1/2/3/4/file", "text");
  mount_with(64);
  const uint64_t before = source_.calls();
  walk("1/2/3/4/file");
  EXPECT_LE(source_.calls() - before, 9U) << "five names asked for, four directories opened";
  let_ttl_pass();
  const uint64_t again = source_.calls();
  walk("1/2/3/4/file");
  EXPECT_EQ(source_.calls() - again, 5U);
}

}  // namespace
}  // namespace larder::fs
