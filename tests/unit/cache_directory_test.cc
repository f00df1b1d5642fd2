// The cache directory's lock and marks, and what a source's root may have become.
#include "app/cache_directory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "app/source_root.h"

namespace larder::app {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;
namespace fs = std::filesystem;

class CacheDirectory : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = fs::temp_directory_path() / "larder-cache-XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    home_ = pattern;
    path_ = home_ + "/cache";
    source_ = home_ + "/source";
    fs::create_directory(path_);
    fs::create_directory(source_);
  }
  void TearDown() override { fs::remove_all(home_); }

  Result<std::unique_ptr<io::Disk>> open_directory() {
    auto disk = open_cache_directory(path_, "/far", wait_);
    if (disk) {
      EXPECT_TRUE(sign_lock(**disk, mountpoint_));
    }
    return disk;
  }
  Result<void> check_root() {
    auto disk = open_directory();
    EXPECT_TRUE(disk.has_value());
    const auto checked = check_source_root(**disk, source_, path_);
    if (checked) {
      EXPECT_TRUE(remember_source_root(**disk, source_));
    }
    return checked;
  }
  std::string text_of(const std::string& name) const {
    std::stringstream text;
    text << std::ifstream(path_ + "/" + name).rdbuf();
    return text.str();
  }
  void write(const std::string& name, const std::string& text) const {
    std::ofstream(path_ + "/" + name) << text;
  }

  std::string home_;
  std::string path_;
  std::string source_;
  std::string mountpoint_ = "/near";
  ManualClock clock_;
  int pauses_ = 0;
  std::string mounted_;  // where there is a larder mount
  LockWait wait_{.clock = clock_,
                 .pause =
                     [this](Nanos time) {
                       ++pauses_;
                       clock_.advance(time);
                     },
                 .is_mounted = [this](const std::string& where) { return where == mounted_; }};
};

TEST_F(CacheDirectory, OfADaemonThatServesIsRefusedAtOnce) {
  const auto first = open_directory();
  ASSERT_TRUE(first.has_value());
  mounted_ = "/near";
  const auto second = open_directory();
  ASSERT_FALSE(second.has_value());
  EXPECT_TRUE(second.error().is(Code::kLocked));
  EXPECT_THAT(std::string(second.error().detail()),
              AllOf(HasSubstr(path_), HasSubstr("in use"), HasSubstr("on /near")));
  EXPECT_EQ(pauses_, 0);
}

TEST_F(CacheDirectory, OfADaemonThatEndsIsWaitedFor) {
  auto first = open_directory();
  ASSERT_TRUE(first.has_value());
  const auto advance = wait_.pause;
  wait_.pause = [&](Nanos time) {
    advance(time);
    if (pauses_ == 3) first->reset();
  };
  EXPECT_TRUE(open_directory().has_value());
  EXPECT_EQ(pauses_, 3);
}

TEST_F(CacheDirectory, OfADaemonThatDoesNotEndIsRefusedAfterAWhile) {
  const auto first = open_directory();
  ASSERT_TRUE(first.has_value());
  const Nanos start = clock_.monotonic();
  const auto second = open_directory();
  ASSERT_FALSE(second.has_value());
  EXPECT_TRUE(second.error().is(Code::kLocked));
  EXPECT_THAT(std::string(second.error().detail()), HasSubstr("in use"));
  EXPECT_GE(clock_.monotonic() - start, wait_.patience);
  EXPECT_LT(clock_.monotonic() - start, 2 * wait_.patience);
}

// Who unmounted it has nothing to unmount any more.
TEST_F(CacheDirectory, OfAMountThatLivesOnElsewhereIsRefusedAtOnce) {
  const auto first = open_directory();
  ASSERT_TRUE(first.has_value());
  wait_.lives_on = [](const std::string& mountpoint, const std::string&) {
    return mountpoint == "/near" ? "/near lives on" : "";
  };
  const auto second = open_directory();
  ASSERT_FALSE(second.has_value());
  EXPECT_EQ(second.error().detail(), "cache directory " + path_ + " is in use: /near lives on");
  EXPECT_EQ(pauses_, 0);
  // At another place there; or another mount of the source, while ours is ending.
  wait_.lives_on = [](const std::string&, const std::string& source) {
    return source.empty() ? "" : "it lives on";
  };
  const auto third = open_directory();
  ASSERT_FALSE(third.has_value());
  EXPECT_THAT(third.error().detail(), HasSubstr("it lives on"));
  EXPECT_GT(pauses_, 0);
}

// As by a larder that did not sign.
TEST_F(CacheDirectory, ALockWithoutANameIsWaitedFor) {
  auto first = open_directory();
  ASSERT_TRUE(first.has_value());
  mounted_ = "/near";
  for (const char* text : {"", "/near"}) {  // nothing, or a name half written
    write("lock", text);
    pauses_ = 0;
    const auto second = open_directory();
    ASSERT_FALSE(second.has_value());
    EXPECT_THAT(std::string(second.error().detail()), Not(HasSubstr("/near")));
    EXPECT_GT(pauses_, 0);
  }
}

TEST_F(CacheDirectory, TheNextHolderSignsTheLock) {
  mountpoint_ = "/a longer one";
  EXPECT_TRUE(open_directory().has_value());
  EXPECT_EQ(text_of("lock"), "/a longer one\n");
  mountpoint_ = "/short";
  EXPECT_TRUE(open_directory().has_value());
  EXPECT_EQ(text_of("lock"), "/short\n");
}

constexpr RootIdentity kNfsMount{0x6969, 0, true};
constexpr RootIdentity kExtMount{0xEF53, 7, true};
constexpr RootIdentity kExtDirectory{0xEF53, 1, false};

TEST(SourceRoot, IsReadAsItWasWritten) {
  for (const RootIdentity& root : {kNfsMount, kExtMount, kExtDirectory})
    EXPECT_EQ(parse_root(format_root(root)), root) << format_root(root);
  for (const char* text :
       {"", "larder root 1 ", "larder root 1 6969 0", "larder root 2 6969 0 plain\n",
        "larder root 1 6969 0 plain", "larder root 1 6969 plain\n", "rubbish\n"})
    EXPECT_EQ(parse_root(text), std::nullopt) << text;
}

TEST(SourceRoot, WhatIsUncoveredIsNoMountPointAndNotTheSameAsBefore) {
  EXPECT_TRUE(may_be_uncovered(kNfsMount, kExtDirectory));
  EXPECT_TRUE(may_be_uncovered(kExtMount, kExtDirectory));
  // A directory of a mounted file system, and the directory of the same name beneath.
  EXPECT_TRUE(may_be_uncovered({0xEF53, 7, false}, kExtDirectory));
  EXPECT_TRUE(may_be_uncovered({0x6969, 0, false}, kExtDirectory));
  // The same, whatever its device number is by now.
  EXPECT_FALSE(may_be_uncovered(kNfsMount, kNfsMount));
  EXPECT_FALSE(may_be_uncovered(kExtDirectory, kExtDirectory));
  // Something else, but mounted.
  EXPECT_FALSE(may_be_uncovered(kExtMount, kNfsMount));
  EXPECT_FALSE(may_be_uncovered(kExtDirectory, kExtMount));
}

TEST_F(CacheDirectory, RemembersTheSourcesRoot) {
  EXPECT_TRUE(check_root());
  const auto root = identify_root(source_);
  ASSERT_TRUE(root.has_value());
  EXPECT_NE(root->type, 0u);
  EXPECT_FALSE(root->is_mount_point);
  EXPECT_EQ(text_of("ROOT"), format_root(*root));
  EXPECT_TRUE(check_root());  // empty, and the same
  fs::remove(source_);
  fs::create_directory(source_);
  EXPECT_TRUE(check_root());  // made anew
}

TEST_F(CacheDirectory, AnEmptyDirectoryIsNotTakenForAMountedSource) {
  EXPECT_TRUE(check_root());
  RootIdentity before = *identify_root(source_);
  before.is_mount_point = true;
  write("ROOT", format_root(before));
  const auto refused = check_root();
  ASSERT_FALSE(refused.has_value());
  EXPECT_THAT(std::string(refused.error().detail()),
              AllOf(HasSubstr(source_), HasSubstr("empty"), HasSubstr("mount that first"),
                    HasSubstr("remove " + path_)));
  EXPECT_EQ(text_of("ROOT"), format_root(before));
  // With something in it, it is a source that was moved.
  std::ofstream(source_ + "/file") << "x";
  EXPECT_TRUE(check_root());
  EXPECT_EQ(text_of("ROOT"), format_root(*identify_root(source_)));
}

TEST_F(CacheDirectory, ASourceThatDoesNotAnswerIsLeftAlone) {
  write("SOURCE", "larder cache 1\n/far\n");
  write("ROOT", format_root(kNfsMount));
  fs::remove(source_);
  EXPECT_TRUE(check_root());
  EXPECT_EQ(text_of("ROOT"), format_root(kNfsMount));
}

TEST_F(CacheDirectory, WhatCannotBeReadOfTheRootIsWrittenAnew) {
  EXPECT_TRUE(check_root());
  write("ROOT", "rubbish");
  EXPECT_TRUE(check_root());
  EXPECT_EQ(text_of("ROOT"), format_root(*identify_root(source_)));
}

}  // namespace
}  // namespace larder::app
