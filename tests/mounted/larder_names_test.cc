// What is remembered beside a file's data (that a name is free, a listing, the text of a link, a
// device's number, inode numbers) ends when the source says otherwise, and no later than promised.
#include <dirent.h>
#include <linux/fs.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include <filesystem>
#include <map>
#include <set>

#include "sources_fixture.h"

namespace larder::testing_support {
namespace {

// What is remembered would be believed for as long as a test runs.
const std::vector<std::string> kLongTtl = {"attr_ttl=30s", "negative_ttl=30s"};

bool is_there(const std::string& path) {
  struct stat status;
  return lstat(path.c_str(), &status) == 0;
}

// The errno of a call that gave -1; 0 when it did not.
int error_of(int result) {
  return result == -1 ? errno : 0;
}

TEST_P(OverSources, WhatIsSaidToExistIsThere) {
  put("other", "x");
  ASSERT_TRUE(mount(kLongTtl));
  const std::map<std::string, std::function<int(const char*)>> makers = {
      {"mkdir", [](const char* path) { return mkdir(path, 0755); }},
      {"symlink", [](const char* path) { return symlink("to", path); }},
      {"mknod", [](const char* path) { return mknod(path, S_IFIFO | 0644, 0); }},
      {"link", [&](const char* path) { return link(at("other").c_str(), path); }},
      {"open", [](const char* path) { return open(path, O_CREAT | O_EXCL | O_WRONLY, 0644); }},
      {"rename",
       [&](const char* path) {
         return renameat2(AT_FDCWD, at("other").c_str(), AT_FDCWD, path, RENAME_NOREPLACE);
       }},
      {"replace", [&](const char* path) { return rename(at("other").c_str(), path); }}};
  for (const auto& [name, make] : makers) {
    for (int round = 0; round < 5; ++round) {
      const std::string made = name + std::to_string(round);
      EXPECT_FALSE(is_there(at(made)));
      ASSERT_EQ(mkdir(real(made).c_str(), 0755), 0);
      const int error = error_of(make(at(made).c_str()));
      EXPECT_TRUE(is_there(at(made))) << made << ": " << strerror(error);
      // sshfs has no hard links by default, and its server renames onto nothing.
      if (GetParam() != SourceKind::kSshfs) {
        EXPECT_EQ(error, name == "replace" ? EISDIR : EEXIST) << made;
      }
    }
  }
}

TEST_P(OverSources, WhatIsSaidToBeGoneIsGone) {
  const std::map<std::string, std::function<int(const char*)>> users = {
      {"chmod", [](const char* path) { return chmod(path, 0600); }},
      {"truncate", [](const char* path) { return truncate(path, 0); }},
      {"unlink", [](const char* path) { return unlink(path); }},
      {"rename", [&](const char* path) { return rename(path, at("renamed").c_str()); }},
      {"setxattr", [](const char* path) { return setxattr(path, "user.a", "b", 1, 0); }},
      {"link", [&](const char* path) { return link(path, at("linked").c_str()); }},
      {"opendir", [](const char* path) { return open(path, O_DIRECTORY | O_RDONLY); }},
      {"create", [](const char* path) {
         return open((std::string(path) + "/below").c_str(), O_CREAT | O_WRONLY, 0644);
       }}};
  const std::set<std::string> of_directories = {"create", "opendir"};
  for (const auto& [name, use] : users)
    for (int round = 0; round < 5; ++round) {
      const std::string used = name + std::to_string(round);
      if (of_directories.contains(name)) {
        ASSERT_EQ(mkdir(real(used).c_str(), 0755), 0);
      } else {
        put(used, "x");
      }
    }
  ASSERT_TRUE(mount(kLongTtl));
  for (const auto& [name, use] : users)
    for (int round = 0; round < 5; ++round) {
      const std::string used = name + std::to_string(round);
      EXPECT_TRUE(is_there(at(used)));
      std::filesystem::remove(real(used));
      EXPECT_EQ(error_of(use(at(used).c_str())), ENOENT) << used;
      EXPECT_FALSE(is_there(at(used))) << used;
    }
}

std::set<std::string> names_in(const std::string& path) {
  std::set<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(path))
    names.insert(entry.path().filename());
  return names;
}

TEST_P(OverSources, ADirectoryThatIsSaidNotToBeEmptyIsListedAnew) {
  constexpr int kRounds = 5;
  for (int round = 0; round < kRounds; ++round)
    ASSERT_EQ(mkdir(real(std::to_string(round)).c_str(), 0755), 0);
  outlive_attr_ttl();
  ASSERT_TRUE(mount(kLongTtl));
  for (int round = 0; round < kRounds; ++round) {
    const std::string filled = std::to_string(round);
    EXPECT_EQ(names_in(at(filled)), std::set<std::string>{});
    put(filled + "/file", "x");
    EXPECT_EQ(error_of(rmdir(at(filled).c_str())), ENOTEMPTY) << filled;
    EXPECT_EQ(names_in(at(filled)), std::set<std::string>{"file"}) << filled;
    EXPECT_EQ(read_file(at(filled + "/file")), (FileContent{0, "x"})) << filled;
  }
}

TEST_P(OverSources, ADirectoryThatOthersEmptiedGoes) {
  constexpr int kRounds = 5;
  for (int round = 0; round < kRounds; ++round) {
    ASSERT_EQ(mkdir(real(std::to_string(round)).c_str(), 0755), 0);
    for (const char* const name : {"/a", "/b"}) put(std::to_string(round) + name, "x");
  }
  outlive_attr_ttl();
  ASSERT_TRUE(mount(kLongTtl));
  for (int round = 0; round < kRounds; ++round) {
    const std::string emptied = std::to_string(round);
    EXPECT_EQ(names_in(at(emptied)), (std::set<std::string>{"a", "b"}));
    for (const char* const name : {"/a", "/b"}) ASSERT_EQ(unlink(real(emptied + name).c_str()), 0);
    EXPECT_EQ(error_of(unlink(at(emptied + "/a").c_str())), ENOENT) << emptied;
    EXPECT_EQ(names_in(at(emptied)), std::set<std::string>{}) << emptied;
    EXPECT_EQ(error_of(rmdir(at(emptied).c_str())), 0) << emptied;
    EXPECT_FALSE(is_there(real(emptied))) << emptied;
  }
}

TEST_P(OverSources, AListingHasWhatOthersMakeAndRemove) {
  ASSERT_EQ(mkdir(real("d").c_str(), 0755), 0);
  put("d/first", "x");
  ASSERT_TRUE(mount());
  outlive_attr_ttl();
  EXPECT_EQ(names_in(at("d")), std::set<std::string>{"first"});
  put("d/second", "x");
  ASSERT_EQ(unlink(real("d/first").c_str()), 0);
  outlive_attr_ttl();
  EXPECT_EQ(names_in(at("d")), std::set<std::string>{"second"});
  put("d/third", "x");
  outlive_attr_ttl();
  EXPECT_GT(std::filesystem::remove_all(at("d")), 2U);
  EXPECT_FALSE(is_there(real("d")));
}

// Others change a directory, and none of the times that the source shows of it moves.
class UnseenChanges : public OverSources {
 protected:
  void SetUp() override {
    OverSources::SetUp();
    if (IsSkipped()) return;
    if (const auto* merged = dynamic_cast<const MergerfsDirectory*>(source_.get())) {
      ASSERT_EQ(mkdir((merged->first() + "/d").c_str(), 0755), 0);
    }
    ASSERT_EQ(mkdir(real("d").c_str(), 0755), 0);
    put("d/first", "x");
    ASSERT_TRUE(mount());
    outlive_attr_ttl();
  }
  // Only a local file system shows by its ctime that something was changed.
  void change_unseen(const std::function<void()>& change) const {
    struct stat before;
    ASSERT_EQ(stat(real("d").c_str(), &before), 0);
    change();
    const timespec times[2] = {before.st_atim, before.st_mtim};
    ASSERT_EQ(utimensat(AT_FDCWD, real("d").c_str(), times, 0), 0);
  }
  void make_unseen(const std::string& name) const {
    change_unseen([&] { put("d/" + name, "x"); });
  }
  void remove_unseen(const std::string& name) const {
    change_unseen([&] { ASSERT_EQ(unlink(real("d/" + name).c_str()), 0); });
  }
  int64_t count_warmed() const {
    const int64_t before = mount_->metric("/warm/files");
    const auto warmed =
        run_command({LarderMount::program(), "warm", "-r", mount_->mountpoint(), "d"});
    EXPECT_EQ(warmed.exit_code, 0) << warmed.err;
    return mount_->metric("/warm/files") - before;
  }
};

TEST_P(UnseenChanges, AreListedAfterTheTimeThatAttributesAreBelieved) {
  EXPECT_EQ(names_in(at("d")), std::set<std::string>{"first"});
  make_unseen("second");
  outlive_attr_ttl();
  EXPECT_EQ(names_in(at("d")), (std::set<std::string>{"first", "second"}));
  remove_unseen("first");
  outlive_attr_ttl();
  EXPECT_EQ(names_in(at("d")), std::set<std::string>{"second"});
}

TEST_P(UnseenChanges, AreWarmed) {
  EXPECT_EQ(count_warmed(), 1);
  make_unseen("second");
  outlive_attr_ttl();
  EXPECT_EQ(count_warmed(), 2);
  EXPECT_EQ(names_in(at("d")), (std::set<std::string>{"first", "second"}));
}

TEST_P(UnseenChanges, AreListedAfterARemount) {
  EXPECT_EQ(names_in(at("d")), std::set<std::string>{"first"});
  for (const std::string name : {"second", "third"}) {
    ASSERT_EQ(mount_->stop(), 0);
    make_unseen(name);
    outlive_attr_ttl();
    ASSERT_TRUE(mount_->start()) << mount_->problem();
    EXPECT_TRUE(names_in(at("d")).contains(name));
  }
  EXPECT_EQ(names_in(at("d")), (std::set<std::string>{"first", "second", "third"}));
}

INSTANTIATE_TEST_SUITE_P(Sources, UnseenChanges,
                         testing::Values(SourceKind::kDisk, SourceKind::kTmpfs, SourceKind::kSshfs,
                                         SourceKind::kMergerfs),
                         source_name);

TEST_P(OverSources, ALinkThatIsReplacedLeadsWhereTheNewOneDoes) {
  ASSERT_EQ(symlink("A", real("l").c_str()), 0);
  ASSERT_TRUE(mount());
  const auto replace_link = [&](const std::string& target) {
    // On a local disk the inode's number is used again.
    ASSERT_EQ(unlink(real("l").c_str()), 0);
    ASSERT_EQ(symlink(target.c_str(), real("l").c_str()), 0);
  };
  const auto expect_target = [&](const std::string& target) {
    EXPECT_EQ(std::filesystem::read_symlink(at("l")), target);
    struct stat status;
    ASSERT_EQ(lstat(at("l").c_str(), &status), 0);
    EXPECT_EQ(static_cast<size_t>(status.st_size), target.size());
  };
  for (const std::string target : {"A", "B", "CCC", "D"}) {
    replace_link(target);
    outlive_attr_ttl();
    expect_target(target);
  }
  for (const std::string target : {"D", "E", "F"}) {  // of the last run; while nothing runs
    ASSERT_EQ(mount_->stop(), 0);
    if (target != "D") replace_link(target);
    ASSERT_TRUE(mount_->start()) << mount_->problem();
    expect_target(target);
  }
}

TEST_P(OverSources, ADeviceThatIsReplacedHasItsOwnNumber) {
  if (GetParam() == SourceKind::kSshfs) GTEST_SKIP() << "SFTP knows no devices";
  ASSERT_EQ(mknod(real("dev").c_str(), S_IFCHR | 0600, makedev(1, 3)), 0);
  ASSERT_TRUE(mount());
  const auto replace_device = [&](unsigned minor) {
    ASSERT_EQ(unlink(real("dev").c_str()), 0);
    ASSERT_EQ(mknod(real("dev").c_str(), S_IFCHR | 0600, makedev(1, minor)), 0);
  };
  const auto expect_number = [&](unsigned minor) {
    struct stat status;
    ASSERT_EQ(lstat(at("dev").c_str(), &status), 0);
    EXPECT_EQ(status.st_rdev, makedev(1, minor));
  };
  for (const unsigned minor : {3U, 5U, 7U}) {
    replace_device(minor);
    outlive_attr_ttl();
    expect_number(minor);
  }
  for (const unsigned minor : {7U, 8U, 9U}) {  // of the last run; while nothing runs
    ASSERT_EQ(mount_->stop(), 0);
    if (minor != 7) replace_device(minor);
    ASSERT_TRUE(mount_->start()) << mount_->problem();
    expect_number(minor);
  }
}

TEST_P(OverSources, AListingShowsTheNumbersThatStatShows) {
  // More than one answer to the kernel holds, so that some come without attributes.
  constexpr int kFiles = 300;
  for (int i = 0; i < kFiles; ++i) {
    const std::string name = "file" + std::to_string(i);
    put(name, "");
    ASSERT_EQ(link(real(name).c_str(), real("link" + std::to_string(i)).c_str()), 0);
  }
  ASSERT_TRUE(mount(kLongTtl));
  std::map<std::string, ino_t> listed;
  DIR* const directory = opendir(at("").c_str());
  ASSERT_NE(directory, nullptr);
  while (const dirent* entry = readdir(directory)) listed[entry->d_name] = entry->d_ino;
  closedir(directory);
  int wrong = 0;
  for (const auto& [name, number] : listed) {
    struct stat status;
    if (name == ".." || lstat(at(name).c_str(), &status) != 0) continue;
    if (status.st_ino != number) ++wrong;
  }
  EXPECT_EQ(wrong, 0) << "of " << listed.size();
}

INSTANTIATE_TEST_SUITE_P(Sources, OverSources, all_sources(), source_name);

}  // namespace
}  // namespace larder::testing_support
