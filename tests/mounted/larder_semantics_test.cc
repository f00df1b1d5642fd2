// What a local file system does that takes more than passing a call on: files without a name, ACLs
// and set-group-id, hard links on several file systems.  Each is done on a plain directory, too.
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cstring>
#include <functional>
#include <utility>

#include "larder_fixture.h"

namespace larder::testing_support {
namespace {

// The outcome of a call: its value, or the errno negated.
int64_t outcome(int64_t result) {
  return result < 0 ? -errno : result;
}

// A larder mount over one directory of the local disk, beside another that is only itself.
class LikeALocalDisk : public LarderTest, public testing::WithParamInterface<const char*> {
 protected:
  void SetUp() override {
    LarderTest::SetUp();
    if (IsSkipped()) return;
    ASSERT_EQ(mkdir(plain_.c_str(), 0755), 0);
    std::vector<std::string> options = {"allow_other"};
    if (*GetParam() != '\0') options.emplace_back(GetParam());
    ASSERT_TRUE(mount_over(tree_, options));
  }
  // The same on both.
  void compare(const std::function<int64_t(const std::string& root)>& action, const char* what) {
    const int64_t expected = action(plain_);
    EXPECT_EQ(action(mount_->mountpoint()), expected) << what;
  }

 private:
  struct Directories {
    Directories() {
      std::string pattern = testing::TempDir() + "semantics_XXXXXX";
      if (mkdtemp(pattern.data()) == nullptr) return;
      path = pattern;
      chmod(path.c_str(), 0755);
      mkdir((path + "/tree").c_str(), 0755);
    }
    ~Directories() {
      std::error_code ignored;
      if (!path.empty()) std::filesystem::remove_all(path, ignored);
    }
    std::string path;
  } directories_;

 protected:
  const std::string plain_ = directories_.path + "/plain";
  const std::string tree_ = directories_.path + "/tree";
};

INSTANTIATE_TEST_SUITE_P(Ways, LikeALocalDisk,
                         testing::Values("", "attr_ttl=0", "profile=private", "passthrough=off"),
                         [](const auto& way) {
                           std::string name = *way.param == '\0' ? "default" : way.param;
                           std::ranges::replace_if(name, [](char c) { return !isalnum(c); }, '_');
                           return name;
                         });

// --- open, and without a name

struct Call {
  const char* what;
  std::function<int64_t(int fd)> make;
};

struct stat status_of(int fd) {
  struct stat status{};
  EXPECT_EQ(fstat(fd, &status), 0);
  return status;
}

std::string by_descriptor(int fd) {
  return "/proc/self/fd/" + std::to_string(fd);
}

int64_t reopened(int fd, int flags) {
  const int again = open(by_descriptor(fd).c_str(), flags | O_NONBLOCK);
  if (again < 0) return -errno;
  close(again);
  return 0;
}

int64_t in_directory(int directory, const char* name, int flags) {
  const int fd = openat(directory, name, flags, 0600);
  if (fd < 0) return -errno;
  close(fd);
  return 0;
}

// What everything open can be asked.
const std::vector<Call> kOfAnything = {
    {"nlink", [](int fd) { return static_cast<int64_t>(status_of(fd).st_nlink); }},
    {"fchmod", [](int fd) { return outcome(fchmod(fd, 0640)); }},
    {"mode", [](int fd) { return static_cast<int64_t>(status_of(fd).st_mode); }},
    {"fchown", [](int fd) { return outcome(fchown(fd, 1000, 1001)); }},
    {"uid", [](int fd) { return static_cast<int64_t>(status_of(fd).st_uid); }},
    {"gid", [](int fd) { return static_cast<int64_t>(status_of(fd).st_gid); }},
    {"futimens",
     [](int fd) {
       const timespec times[2] = {{1, 2}, {3, 4}};
       return outcome(futimens(fd, times));
     }},
    {"mtime",
     [](int fd) { return status_of(fd).st_mtim.tv_sec * 1000 + status_of(fd).st_mtim.tv_nsec; }},
    {"flock", [](int fd) { return outcome(flock(fd, LOCK_EX | LOCK_NB)); }},
    {"reopen", [](int fd) { return reopened(fd, O_RDONLY); }},
};

const std::vector<Call> kOfAFile = {
    {"fsetxattr", [](int fd) { return outcome(fsetxattr(fd, "user.b", "2", 1, 0)); }},
    {"fgetxattr",
     [](int fd) {
       char value[8];
       return outcome(fgetxattr(fd, "user.a", value, sizeof value));
     }},
    {"flistxattr",
     [](int fd) {
       char names[100];
       return outcome(flistxattr(fd, names, sizeof names));
     }},
    {"fremovexattr", [](int fd) { return outcome(fremovexattr(fd, "user.a")); }},
    {"fsync", [](int fd) { return outcome(fsync(fd)); }},
    {"truncate", [](int fd) { return outcome(truncate(by_descriptor(fd).c_str(), 3000)); }},
    {"size", [](int fd) { return static_cast<int64_t>(status_of(fd).st_size); }},
    {"pread",
     [](int fd) {
       char bytes[8000];
       return outcome(pread(fd, bytes, sizeof bytes, 100));
     }},
    {"pwrite", [](int fd) { return outcome(pwrite(fd, "zz", 2, 10)); }},
    {"ftruncate", [](int fd) { return outcome(ftruncate(fd, 100)); }},
    {"fallocate", [](int fd) { return outcome(fallocate(fd, 0, 0, 8192)); }},
    {"size at the end", [](int fd) { return static_cast<int64_t>(status_of(fd).st_size); }},
    {"SEEK_DATA", [](int fd) { return outcome(lseek(fd, 0, SEEK_DATA)); }},
};

const std::vector<Call> kOfADirectory = {
    {"openat", [](int fd) { return in_directory(fd, "x", O_RDONLY); }},
    {"openat .", [](int fd) { return in_directory(fd, ".", O_RDONLY); }},
    {"openat ..", [](int fd) { return in_directory(fd, "..", O_RDONLY); }},
    {"create", [](int fd) { return in_directory(fd, "x", O_RDWR | O_CREAT); }},
    {"mkdirat", [](int fd) { return outcome(mkdirat(fd, "x", 0700)); }},
};

TEST_P(LikeALocalDisk, WhatIsOpenWorksWithoutAName) {
  const std::string data = pattern(5000, 1);
  const auto compare_calls = [&](const Descriptor& plain, const Descriptor& mounted,
                                 const std::vector<Call>& calls, const std::string& what) {
    ASSERT_TRUE(plain.valid() && mounted.valid()) << what;
    for (const Call& call : calls) {
      const int64_t expected = call.make(plain.get());
      EXPECT_EQ(call.make(mounted.get()), expected) << what << ": " << call.what;
    }
  };
  const auto both = [&](const std::function<void(const std::string& path)>& action,
                        const std::string& name) {
    for (const std::string& root : {plain_, mount_->mountpoint()}) action(root + "/" + name);
  };
  for (const int flags : {O_RDONLY, O_RDWR}) {
    for (const bool replaced : {false, true}) {
      const std::string what = (flags == O_RDWR ? "writer" : "reader") +
                               std::string(replaced ? ", replaced" : ", removed");
      both(
          [&](const std::string& path) {
            ASSERT_EQ(write_file(path, data), 0);
            ASSERT_EQ(setxattr(path.c_str(), "user.a", "1", 1, 0), 0);
            ASSERT_EQ(write_file(path + "2", "other"), 0);
            EXPECT_EQ(read_file(path).data, data);
          },
          "file");
      wait_until_stored();
      const Descriptor plain(plain_ + "/file", flags), mounted(at("file"), flags);
      both(
          [&](const std::string& path) {
            EXPECT_EQ(replaced ? rename((path + "2").c_str(), path.c_str()) : unlink(path.c_str()),
                      0);
          },
          "file");
      compare_calls(plain, mounted, kOfAnything, what);
      compare_calls(plain, mounted, kOfAFile, what);
      if (replaced) both([](const std::string& path) { unlink(path.c_str()); }, "file");
    }
  }
  both([](const std::string& path) { ASSERT_EQ(mkdir(path.c_str(), 0755), 0); }, "directory");
  both([](const std::string& path) { ASSERT_EQ(mkfifo(path.c_str(), 0644), 0); }, "fifo");
  const Descriptor plain(plain_ + "/directory", O_RDONLY), mounted(at("directory"), O_RDONLY);
  const Descriptor plain_fifo(plain_ + "/fifo", O_RDONLY | O_NONBLOCK);
  const Descriptor mounted_fifo(at("fifo"), O_RDONLY | O_NONBLOCK);
  both([](const std::string& path) { ASSERT_EQ(rmdir(path.c_str()), 0); }, "directory");
  both([](const std::string& path) { ASSERT_EQ(unlink(path.c_str()), 0); }, "fifo");
  compare_calls(plain, mounted, kOfAnything, "directory");
  compare_calls(plain, mounted, kOfADirectory, "directory");
  compare_calls(plain_fifo, mounted_fifo, kOfAnything, "fifo");
}

// --- ACLs

// As posix_acl_xattr.h has it: a version, then entries of tag, permissions and id.
std::string acl_for(uint32_t uid) {
  struct Entry {
    uint16_t tag;
    uint16_t permissions;
    uint32_t id;
  };
  constexpr uint32_t kVersion = 2, kNoId = UINT32_MAX;
  const Entry entries[] = {
      {0x01, 7, kNoId}, {0x02, 5, uid}, {0x04, 7, kNoId}, {0x10, 7, kNoId}, {0x20, 5, kNoId}};
  std::string acl(reinterpret_cast<const char*>(&kVersion), sizeof kVersion);
  return acl.append(reinterpret_cast<const char*>(entries), sizeof entries);
}

// In a process that has become that user; what `action` returns, which is an exit code.
int as_user(uid_t uid, gid_t gid, const std::vector<gid_t>& groups,
            const std::function<int()>& action) {
  const pid_t child = fork();
  if (child == 0) {
    if (setgroups(groups.size(), groups.data()) != 0 || setgid(gid) != 0 || setuid(uid) != 0)
      _exit(255);
    _exit(action());
  }
  int status = 0;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 254;
}

TEST_P(LikeALocalDisk, WhoIsOutsideTheGroupAndSetsAnAclTakesSetGroupIdAway) {
  constexpr uid_t kOwner = 4000;
  constexpr gid_t kGroup = 5000, kOther = 5001;
  struct Case {
    uid_t uid;
    gid_t gid;
    std::vector<gid_t> groups;
    bool kept;
  };
  const std::vector<Case> cases = {{kOwner, kOther, {}, false},
                                   {kOwner, kOther, {kOther, 0}, false},
                                   {kOwner, kGroup, {}, true},
                                   {kOwner, kOther, {kOther, kGroup}, true},
                                   {0, 0, {}, true}};
  const std::string acl = acl_for(kOwner + 1);
  for (size_t i = 0; i < cases.size(); ++i) {
    const Case& who = cases[i];
    for (const std::string& root : {plain_, mount_->mountpoint()}) {
      const std::string path = root + "/file" + std::to_string(i);
      ASSERT_EQ(write_file(path, "x"), 0);
      ASSERT_EQ(chown(path.c_str(), kOwner, kGroup), 0);
      ASSERT_EQ(chmod(path.c_str(), 02775), 0);
      const int error = as_user(who.uid, who.gid, who.groups, [&] {
        return setxattr(path.c_str(), "system.posix_acl_access", acl.data(), acl.size(), 0) == 0
                   ? 0
                   : errno;
      });
      if (error == EOPNOTSUPP && root == plain_) GTEST_SKIP() << "no ACLs on the local disk";
      ASSERT_EQ(error, 0) << path;
      struct stat status;
      ASSERT_EQ(stat(path.c_str(), &status), 0);
      EXPECT_EQ((status.st_mode & S_ISGID) != 0, who.kept) << path;
    }
    // Nobody's groups stay with the thread that did it.
    const std::string made = at("made" + std::to_string(i));
    ASSERT_EQ(write_file(made, "x"), 0);
    struct stat status;
    ASSERT_EQ(stat(made.c_str(), &status), 0);
    EXPECT_EQ(status.st_uid, 0U);
    EXPECT_EQ(status.st_gid, 0U);
  }
}

// --- set-id bits

void drop_fsetid() {
  __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {};
  if (syscall(SYS_capget, &header, data) != 0) _exit(253);
  data[CAP_TO_INDEX(CAP_FSETID)].effective &= ~CAP_TO_MASK(CAP_FSETID);
  if (syscall(SYS_capset, &header, data) != 0) _exit(252);
}

int truncated_by_open(const std::string& path, int flags) {
  const int fd = open(path.c_str(), flags | O_TRUNC, 0600);
  return fd < 0 ? errno : close(fd);
}

int changed_through(const std::string& path, int flags, const std::function<int64_t(int)>& change) {
  const int fd = open(path.c_str(), O_RDWR | flags);
  if (fd < 0) return errno;
  const int error = change(fd) < 0 ? errno : 0;
  close(fd);
  return error;
}

struct Change {
  const char* what;
  std::function<int(const std::string& path)> make;  // the errno
};

const std::vector<Change> kChanges = {
    {"write",
     [](const std::string& path) {
       return changed_through(path, 0, [](int fd) { return pwrite(fd, "zz", 2, 10); });
     }},
    {"append",
     [](const std::string& path) {
       return changed_through(path, O_APPEND, [](int fd) { return write(fd, "zz", 2); });
     }},
    {"truncate",
     [](const std::string& path) { return truncate(path.c_str(), 10) == 0 ? 0 : errno; }},
    {"ftruncate",
     [](const std::string& path) {
       return changed_through(path, 0, [](int fd) { return ftruncate(fd, 20); });
     }},
    {"O_TRUNC", [](const std::string& path) { return truncated_by_open(path, O_WRONLY); }},
    {"O_TRUNC to read", [](const std::string& path) { return truncated_by_open(path, O_RDONLY); }},
    {"O_TRUNC | O_CREAT",
     [](const std::string& path) { return truncated_by_open(path, O_RDWR | O_CREAT); }},
    {"fallocate",
     [](const std::string& path) {
       return changed_through(path, 0, [](int fd) { return fallocate(fd, 0, 0, 20'000); });
     }},
    {"copy_file_range",
     [](const std::string& path) {
       return changed_through(path, 0, [](int fd) {
         off_t from = 0, to = 5000;
         return copy_file_range(fd, &from, fd, &to, 1000, 0);
       });
     }},
    {"chgrp",
     [](const std::string& path) {
       const gid_t own = getgid();
       return chown(path.c_str(), static_cast<uid_t>(-1), own) == 0 ? 0 : errno;
     }},
    {"chown to nobody",
     [](const std::string& path) {
       const int error = chown(path.c_str(), static_cast<uid_t>(-1), static_cast<gid_t>(-1));
       return error == 0 || errno == EPERM ? 0 : errno;  // a FUSE mount lets everybody
     }},
    {"chmod", [](const std::string& path) { return chmod(path.c_str(), 06755) == 0 ? 0 : errno; }},
    {"nothing",
     [](const std::string& path) { return changed_through(path, 0, [](int) { return 0; }); }},
};

TEST_P(LikeALocalDisk, WhoChangesAFileTakesTheSetIdBitsAway) {
  constexpr uid_t kOwner = 4000, kStranger = 4001;
  constexpr gid_t kGroup = 5000, kOther = 5001;
  struct Who {
    uid_t uid;
    gid_t gid;
    std::vector<gid_t> groups;
    bool has_fsetid = false;
  };
  const std::vector<Who> callers = {{kOwner, kOther, {}},
                                    {kOwner, kOther, {kOther, kGroup}},
                                    {kStranger, kOther, {}},
                                    {0, 0, {}, false},
                                    {0, 0, {}, true}};
  const auto changed = [](const std::string& path, mode_t mode, const Who& who,
                          const Change& change) -> int64_t {
    unlink(path.c_str());
    EXPECT_EQ(write_file(path, std::string(10'000, 'x')), 0);
    EXPECT_EQ(chown(path.c_str(), kOwner, kGroup), 0);
    EXPECT_EQ(chmod(path.c_str(), mode), 0);
    const int error = as_user(who.uid, who.gid, who.groups, [&] {
      if (!who.has_fsetid) drop_fsetid();
      return change.make(path);
    });
    struct stat status{};
    EXPECT_EQ(stat(path.c_str(), &status), 0);
    return error << 16 | status.st_mode;
  };
  for (const Change& change : kChanges)
    for (const Who& who : callers)
      for (const mode_t mode : {02666, 06666, 06777}) {
        const int64_t expected = changed(plain_ + "/file", mode, who, change);
        EXPECT_EQ(changed(at("file"), mode, who, change), expected)
            << std::oct << mode << ", " << std::dec << change.what << " by " << who.uid;
        struct stat status{};
        ASSERT_EQ(stat((tree_ + "/file").c_str(), &status), 0);
        EXPECT_EQ(status.st_mode, expected & 0177777) << change.what << " at the source";
      }
}

// --- several file systems beneath the source

TEST_P(LikeALocalDisk, FilesOfSeveralDevicesWithOneInodeNumberAreSeveralFiles) {
  ASSERT_EQ(mount_->stop(), 0);
  const std::vector<std::string> devices = {tree_ + "/one", tree_ + "/two"};
  struct Mounted {
    ~Mounted() {
      for (const std::string& path : paths) umount2(path.c_str(), MNT_DETACH);
    }
    std::vector<std::string> paths;
  } mounted;
  for (const std::string& device : devices) {
    ASSERT_EQ(mkdir(device.c_str(), 0755), 0);
    if (::mount("tmpfs", device.c_str(), "tmpfs", 0, "size=1M") != 0)
      GTEST_SKIP() << "cannot mount a tmpfs: " << strerror(errno);
    mounted.paths.push_back(device);
    // Names that look alike in everything: content, size, links and, being made alike, number.
    ASSERT_EQ(write_file(device + "/a", device), 0);
    ASSERT_EQ(link((device + "/a").c_str(), (device + "/b").c_str()), 0);
    const timespec times[2] = {{1, 0}, {1, 0}};
    ASSERT_EQ(utimensat(AT_FDCWD, (device + "/a").c_str(), times, 0), 0);
  }
  struct stat one, two;
  ASSERT_EQ(stat((devices[0] + "/a").c_str(), &one), 0);
  ASSERT_EQ(stat((devices[1] + "/a").c_str(), &two), 0);
  ASSERT_EQ(one.st_ino, two.st_ino);
  ASSERT_NE(one.st_dev, two.st_dev);
  ASSERT_TRUE(mount_->start()) << mount_->problem();
  for (int round = 0; round < 2; ++round) {
    for (const char* name : {"a", "b"}) {
      EXPECT_EQ(read_file(at("one/") + name), (FileContent{0, devices[0]})) << name;
      EXPECT_EQ(read_file(at("two/") + name), (FileContent{0, devices[1]})) << name;
    }
    wait_until_stored();
  }
  ASSERT_EQ(stat(at("one/a").c_str(), &one), 0);
  ASSERT_EQ(stat(at("two/a").c_str(), &two), 0);
  EXPECT_NE(one.st_ino, two.st_ino);
  EXPECT_EQ(write_file(at("one/a"), "changed"), 0);
  EXPECT_EQ(read_file(at("two/a")), (FileContent{0, devices[1]}));
  EXPECT_EQ(read_file(devices[0] + "/b"), (FileContent{0, "changed"}));
  mount_->stop();
}

}  // namespace
}  // namespace larder::testing_support
