// What is remembered beside a file's data has the validator, the age and the end of attributes:
// listings, the texts of links, device numbers, inode numbers, extended attributes.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/sysmacros.h>

#include "fs/link_text.h"
#include "fs_fixture.h"

namespace larder::fs {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

TEST(LinkTextTest, IsGivenForItsVersionOnly) {
  const Validator first{1, {2, 0}, {3, 0}, 4}, second{1, {2, 0}, {5, 0}, 4};
  LinkText text;
  EXPECT_EQ(text.of(first), "");
  EXPECT_FALSE(text.observe(first)) << "none was given";
  text.keep("to", first, true);
  EXPECT_EQ(text.of(first), "to");
  EXPECT_EQ(text.of(second), "");
  EXPECT_FALSE(text.observe(first));
  EXPECT_TRUE(text.observe(second));
  EXPECT_EQ(text.of(first), "") << "it was replaced meanwhile";
  text.keep("to", second, false);
  EXPECT_EQ(text.of(second), "");
  EXPECT_EQ(text.last_known(), "to");
  EXPECT_TRUE(text.observe(second)) << "another may have come that looks the same";
  EXPECT_FALSE(text.observe(second));
}

// With inode numbers that are stable, and that are not.
class FsRemembered : public FsTest, public ::testing::WithParamInterface<bool> {
 protected:
  FsRemembered() {
    source_.set_inode_numbers(GetParam() ? source::InodeNumbers::kStable
                                         : source::InodeNumbers::kUnreliable);
  }
  void mount_settled(const CoherenceOptions& coherence = {}) {
    mount(coherence);
    let_ttl_pass();
  }
  Result<std::string> try_read_link(KernelId id) { return fs_->run(files().read_link(id), id); }
  std::string read_link(KernelId id) {
    const auto text = try_read_link(id);
    EXPECT_TRUE(text) << text.error().message();
    return text.value_or("");
  }
  std::string link_at(const std::string& path) { return read_link(walk(path).id); }
  std::map<std::string, uint64_t> numbers(KernelId id) {
    const auto handle = fs_->run(files().open_directory(id), id);
    std::map<std::string, uint64_t> numbers;
    auto batch = fs_->run(files().read_directory(*handle, 2, 1 << 20, false), id);
    for (const DirectoryEntryReply& entry : *batch) numbers[entry.name] = entry.inode;
    files().release_directory(*handle);
    return numbers;
  }
  uint64_t number_of(KernelId parent, const std::string& name) {
    return lookup(parent, name).attributes.inode;
  }
};
INSTANTIATE_TEST_SUITE_P(Inodes, FsRemembered, ::testing::Bool(),
                         [](const auto& inodes) { return inodes.param ? "Stable" : "Unstable"; });

// --- listings

TEST_P(FsRemembered, AListingIsNotBelievedForLongWhereDirectoriesDoNotKeepTheirTimes) {
  source_.put("d/first", "x");
  source_.set_directory_times_kept(false);
  mount_settled();
  const KernelId id = walk("d").id;
  EXPECT_THAT(list(id), ElementsAre("first"));
  source_.put("d/second", "x");
  const uint64_t asked = calls(CallKind::kList);
  EXPECT_THAT(list(id), ElementsAre("first")) << "within its time";
  EXPECT_EQ(calls(CallKind::kList), asked);
  let_ttl_pass();
  EXPECT_THAT(list(id), ElementsAre("first", "second"));
  source_.remove("d/first");
  let_ttl_pass();
  EXPECT_THAT(list(id), ElementsAre("second"));
  // Nor after a remount, whatever was asked meanwhile.
  source_.put("d/third", "x");
  forget_all();
  remount();
  EXPECT_THAT(list(walk("d").id), ElementsAre("second", "third"));
  forget_all();
}

TEST_P(FsRemembered, AListingIsRememberedOverARemountWhereAttributesAre) {
  source_.put("d/first", "x");
  source_.set_directory_times_kept(false);
  CoherenceOptions coherence;
  coherence.attributes_ttl = coherence.negative_ttl = std::chrono::hours(1);
  coherence.revalidate_at_open = false;
  mount(coherence);
  clock_.advance(std::chrono::minutes(1));
  EXPECT_THAT(list(walk("d").id), ElementsAre("first"));
  forget_all();
  remount();
  const uint64_t asked = calls(CallKind::kList);
  EXPECT_THAT(list(walk("d").id), ElementsAre("first"));
  EXPECT_EQ(calls(CallKind::kList), asked);
  // Attributes that were asked for since do not make it younger.
  source_.put("d/second", "x");
  forget_all();
  clock_.advance(std::chrono::hours(2));
  walk("d");
  forget_all();
  remount();
  EXPECT_THAT(list(walk("d").id), ElementsAre("first", "second"));
  forget_all();
}

TEST_P(FsRemembered, AListingWithTimesThatAreKeptIsAskedForOnce) {
  source_.put("d/first", "x");
  mount_settled();
  const KernelId id = walk("d").id;
  list(id);
  const uint64_t asked = calls(CallKind::kList);
  for (int i = 0; i < 3; ++i) {
    let_ttl_pass();
    EXPECT_THAT(list(id), ElementsAre("first"));
  }
  EXPECT_EQ(calls(CallKind::kList), asked);
}

TEST_P(FsRemembered, TimesOfZeroAreNotTrusted) {
  source_.set_times_zero();
  source_.put("d/first", "old");
  mount_settled();
  const KernelId id = walk("d").id;
  EXPECT_THAT(list(id), ElementsAre("first"));
  EXPECT_EQ(read_path("d/first"), "old");
  source_.put("d/second", "x");
  source_.overwrite("d/first", 0, "new");
  let_ttl_pass();
  EXPECT_THAT(list(id), ElementsAre("first", "second"));
  EXPECT_EQ(read_path("d/first"), "new");
}

TEST_P(FsRemembered, AListingThatALookUpContradictsIsRenewed) {
  source_.put("d/first", "x");
  source_.set_directory_times_kept(false);
  CoherenceOptions coherence;
  coherence.attributes_ttl = std::chrono::seconds(30);
  coherence.negative_ttl = std::chrono::seconds(1);
  mount_settled(coherence);
  const KernelId id = walk("d").id;
  EXPECT_THAT(list(id), ElementsAre("first"));
  source_.put("d/second", "x");
  EXPECT_THAT(list(id), ElementsAre("first"));
  lookup(id, "second");
  EXPECT_THAT(list(id), ElementsAre("first", "second"));
  source_.remove("d/first");
  EXPECT_EQ(lookup(id, "first").id.value, 0U);
  EXPECT_THAT(list(id), ElementsAre("second"));
}

// --- links

TEST_P(FsRemembered, ALinkThatWasReplacedHasItsOwnText) {
  source_.put_link("l", "A");
  mount_settled();
  const KernelId old = walk("l").id;
  EXPECT_EQ(read_link(old), "A");
  const uint64_t asked = calls(CallKind::kReadLink);
  EXPECT_EQ(read_link(old), "A");
  EXPECT_EQ(calls(CallKind::kReadLink), asked) << "remembered";
  source_.put_link("l", "B");  // as long as the other
  let_ttl_pass();
  const NodeReply now = walk("l");
  EXPECT_NE(now.id, old) << "the kernel keeps the text with its inode";
  EXPECT_EQ(read_link(now.id), "B");
  source_.put_link("l", "CCC");
  let_ttl_pass();
  forget_all();
  remount();
  EXPECT_EQ(link_at("l"), "CCC");
  EXPECT_EQ(walk("l").attributes.size_bytes, 3U);
  let_ttl_pass();
  forget_all();
}

TEST_P(FsRemembered, ALinkWhoseInodeNumberIsUsedAgainToo) {
  source_.set_next_inode(77);
  source_.put_link("l", "A");
  mount_settled();
  EXPECT_EQ(link_at("l"), "A");
  source_.set_next_inode(77);
  source_.put_link("l", "B");
  let_ttl_pass();
  EXPECT_EQ(link_at("l"), "B");
  source_.set_next_inode(77);
  source_.put_link("l", "C");
  let_ttl_pass();
  forget_all();
  remount();
  EXPECT_EQ(link_at("l"), "C");
  forget_all();
}

TEST_P(FsRemembered, ALinkReplacedWhileItIsReadIsReadWithItsLength) {
  source_.put_link("l", "A");
  mount_settled();
  const KernelId id = walk("l").id;
  auto held = source_.hold(CallKind::kReadLink);
  auto reading = fs_->start(id, files().read_link(id));
  held->wait_for_calls(1);
  source_.put_link("l", "BBB");
  clock_.advance(std::chrono::seconds(1));
  held->release();
  const auto text = reading.get();
  if (GetParam()) {  // another inode is another link: the name is looked up again
    if (text) {
      EXPECT_EQ(*text, "BBB");
    }
  } else {
    ASSERT_TRUE(text) << text.error().message();
    EXPECT_EQ(*text, "BBB");
  }
  EXPECT_EQ(link_at("l"), "BBB");
  EXPECT_EQ(walk("l").attributes.size_bytes, 3U);
}

TEST_P(FsRemembered, ALinkThatHasJustChangedIsNotTrusted) {
  mount_settled();
  source_.set_time_granularity(std::chrono::seconds(1));
  source_.set_next_inode(77);
  source_.put_link("l", "A");
  EXPECT_EQ(link_at("l"), "A");
  source_.set_next_inode(77);
  source_.put_link("l", "B");  // in the same second: all attributes are the same
  let_ttl_pass();
  EXPECT_EQ(link_at("l"), "B");
}

TEST_P(FsRemembered, ALinksTextIsGivenWhileTheSourceIsDown) {
  source_.put_link("l", "A");
  mount_settled();
  EXPECT_EQ(link_at("l"), "A");
  forget_all();
  remount();
  let_ttl_pass();
  source_.set_down(Code::kSourceDown);
  EXPECT_EQ(link_at("l"), "A");
  source_.set_down(std::nullopt);
  forget_all();
}

// --- devices

TEST_P(FsRemembered, AnotherDeviceNumberIsAnotherFile) {
  source_.set_next_inode(77);
  source_.put_node("dev", S_IFCHR | 0600, makedev(1, 3));
  mount_settled();
  const NodeReply old = walk("dev");
  EXPECT_EQ(old.attributes.rdev, makedev(1, 3));
  source_.set_next_inode(77);
  source_.put_node("dev", S_IFCHR | 0600, makedev(1, 5));
  let_ttl_pass();
  const NodeReply now = walk("dev");
  EXPECT_EQ(now.attributes.rdev, makedev(1, 5));
  EXPECT_NE(now.id, old.id) << "the kernel takes the number once";
  source_.set_next_inode(77);
  source_.put_node("dev", S_IFCHR | 0600, makedev(1, 7));
  let_ttl_pass();
  forget_all();
  remount();
  EXPECT_EQ(walk("dev").attributes.rdev, makedev(1, 7));
  forget_all();
}

TEST_P(FsRemembered, AFifoStaysOneForItsUsersWhateverBecomesOfItsMode) {
  source_.put_node("fifo", S_IFIFO | 0600, 0);
  mount_settled();
  const KernelId id = walk("fifo").id;
  AttributeChange change;
  change.permissions = 0644;
  EXPECT_TRUE(fs_->run(files().set_attributes(id, change, 0), id));
  let_ttl_pass();
  EXPECT_EQ(walk("fifo").id, id);
}

// --- inode numbers in listings

TEST_P(FsRemembered, AListingShowsTheNumbersThatFilesHave) {
  source_.put("a", "x");
  source_.put("b", "y");
  source_.put_name("a", "a2");
  source_.put_name("b", "b2");
  source_.mkdir("d");
  mount_settled();
  const auto listed = numbers(kRoot);
  EXPECT_EQ(listed.size(), 5U);
  EXPECT_EQ(listed.at("a"), listed.at("a2"));
  EXPECT_NE(listed.at("a"), listed.at("b"));
  for (const auto& [name, number] : listed) EXPECT_EQ(number_of(kRoot, name), number) << name;
}

TEST_P(FsRemembered, AListingShowsTheNumberOfAFileThatIsKnownElsewhere) {
  source_.put("a", "x");
  source_.mkdir("d");
  source_.put_name("a", "d/a");
  mount_settled();
  const uint64_t number = number_of(kRoot, "a");
  const KernelId id = walk("d").id;
  const auto listed = numbers(id);
  if (GetParam()) {
    EXPECT_EQ(listed.at("a"), number);
  }
  EXPECT_EQ(number_of(id, "a"), number);
  EXPECT_EQ(numbers(id).at("a"), number) << "known by now";
}

TEST_P(FsRemembered, AListingShowsTheNumberOfTheFileThatHasTakenAName) {
  source_.put("a", "x");
  mount_settled();
  const uint64_t old = number_of(kRoot, "a");
  source_.put("b", "y");
  source_.move("b", "a");
  let_ttl_pass();
  const auto listed = numbers(kRoot);
  EXPECT_EQ(number_of(kRoot, "a"), listed.at("a"));
  if (GetParam()) {
    EXPECT_NE(listed.at("a"), old);
  }
}

TEST_P(FsRemembered, OneOfSeveralNamesThatIsGivenToAnotherFileTakesNothingAlong) {
  source_.put("a", "first");
  source_.put_name("a", "b");
  mount_settled();
  EXPECT_EQ(number_of(kRoot, "a"), number_of(kRoot, "b"));
  EXPECT_EQ(read_path("a"), "first");
  source_.put("b", "other");
  let_ttl_pass();
  EXPECT_EQ(read_path("b"), "other");
  EXPECT_EQ(read_path("a"), "first");
  EXPECT_NE(number_of(kRoot, "a"), number_of(kRoot, "b"));
}

// --- names remembered from before

TEST_P(FsRemembered, ANameIsNotBelievedForWhatIsKnownOfAnother) {
  source_.put("a", "x");
  source_.put_name("a", "b");
  CoherenceOptions coherence;
  coherence.attributes_ttl = coherence.negative_ttl = std::chrono::hours(1);
  mount(coherence);
  clock_.advance(std::chrono::minutes(1));
  EXPECT_EQ(number_of(kRoot, "b"), number_of(kRoot, "a"));
  forget_all();
  remount();
  source_.remove("b");
  for (int i = 0; i < 4; ++i) {
    clock_.advance(std::chrono::minutes(40));
    lookup(kRoot, "a");
  }
  EXPECT_EQ(lookup(kRoot, "b").id.value, 0U);
  forget_all();
}

}  // namespace
}  // namespace larder::fs
