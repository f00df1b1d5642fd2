// The slow source is a correct file system, and is slow and faulty exactly as told.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <optional>
#include <set>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "support/slow_source/connection.h"
#include "support/slow_source_mount.h"

namespace larder::testing_support {
namespace {

namespace fs = std::filesystem;
using std::chrono::steady_clock;

class SlowSourceTest : public testing::Test {
 protected:
  void SetUp() override {
    if (const std::string why = SlowSourceMount::why_unavailable(); !why.empty())
      GTEST_SKIP() << why;
    source_.emplace();
    ASSERT_TRUE(source_->mounted()) << source_->problem();
  }
  // The same name seen through the mount, and in the directory.
  std::string at(const std::string& name) const { return source_->mountpoint() + "/" + name; }
  std::string real(const std::string& name) const { return source_->directory() + "/" + name; }
  static struct stat status_of(const std::string& path) {
    struct stat status{};
    EXPECT_EQ(lstat(path.c_str(), &status), 0) << path;
    return status;
  }
  static void write_file(const std::string& path, const std::string& text) {
    std::ofstream file(path, std::ios::binary);
    file << text;
    file.close();
    EXPECT_TRUE(file) << path;
  }
  static std::string read_file(const std::string& path) {
    std::stringstream text;
    text << std::ifstream(path, std::ios::binary).rdbuf();
    return text.str();
  }
  // errno of a call that has to fail; 0 when it does not.
  static int error_of(const std::function<long()>& call) { return call() < 0 ? errno : 0; }
  static int stat_error(const std::string& path) {
    struct stat status;
    return error_of([&] { return lstat(path.c_str(), &status); });
  }

  std::optional<SlowSourceMount> source_;
};

struct Descriptor {
  explicit Descriptor(int opened) : fd(opened) { EXPECT_GE(fd, 0) << std::strerror(errno); }
  ~Descriptor() { close(fd); }
  int fd;
};

TEST_F(SlowSourceTest, ShowsTheDirectoryInBothDirections) {
  write_file(real("before"), "outside");
  EXPECT_EQ(read_file(at("before")), "outside");
  write_file(at("after"), "inside");
  EXPECT_EQ(read_file(real("after")), "inside");
  write_file(real("before"), "changed outside");
  EXPECT_EQ(read_file(at("before")), "changed outside");
  fs::remove(real("before"));
  EXPECT_EQ(stat_error(at("before")), ENOENT);
}

TEST_F(SlowSourceTest, AttributesAreThoseOfTheDirectory) {
  write_file(at("file"), "12345");
  fs::create_directory(at("dir"));
  fs::create_symlink("file", at("symlink"));
  ASSERT_EQ(mkfifo(at("fifo").c_str(), 0640), 0);
  fs::create_hard_link(at("file"), at("link"));
  ASSERT_EQ(chmod(at("file").c_str(), 04751), 0);
  ASSERT_EQ(lchown(at("symlink").c_str(), 12, 34), 0);
  const timespec times[2] = {{.tv_sec = 1000, .tv_nsec = 1}, {.tv_sec = 2000, .tv_nsec = 2}};
  ASSERT_EQ(utimensat(AT_FDCWD, at("symlink").c_str(), times, AT_SYMLINK_NOFOLLOW), 0);
  for (const std::string name : {"file", "dir", "symlink", "fifo", "link", ""}) {
    const struct stat seen = status_of(at(name)), is = status_of(real(name));
    EXPECT_EQ(seen.st_ino, is.st_ino) << name;
    EXPECT_EQ(seen.st_mode, is.st_mode) << name;
    EXPECT_EQ(seen.st_nlink, is.st_nlink) << name;
    EXPECT_EQ(seen.st_uid, is.st_uid) << name;
    EXPECT_EQ(seen.st_gid, is.st_gid) << name;
    EXPECT_EQ(seen.st_size, is.st_size) << name;
    EXPECT_EQ(seen.st_mtim.tv_sec, is.st_mtim.tv_sec) << name;
    EXPECT_EQ(seen.st_mtim.tv_nsec, is.st_mtim.tv_nsec) << name;
  }
  EXPECT_EQ(status_of(real("file")).st_nlink, 2u);
  EXPECT_EQ(status_of(real("file")).st_mode, S_IFREG | 04751u);
  EXPECT_EQ(status_of(real("symlink")).st_uid, 12u);
  EXPECT_EQ(status_of(real("symlink")).st_mtim.tv_sec, 2000);
  EXPECT_EQ(fs::read_symlink(at("symlink")), "file");
  EXPECT_EQ(status_of(at("link")).st_ino, status_of(at("file")).st_ino);
}

TEST_F(SlowSourceTest, NewFilesBelongToTheCaller) {
  ASSERT_EQ(chmod(real("").c_str(), 0777), 0);
  const pid_t child = fork();
  if (child == 0) {
    const bool made = setgid(2345) == 0 && setuid(1234) == 0 &&
                      close(open(at("file").c_str(), O_CREAT | O_RDWR, 0600)) == 0 &&
                      mkdir(at("dir").c_str(), 0700) == 0 &&
                      symlink("x", at("symlink").c_str()) == 0 &&
                      mknod(at("node").c_str(), S_IFREG | 0600, 0) == 0;
    _exit(made ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_EQ(status, 0);
  for (const std::string name : {"file", "dir", "symlink", "node"}) {
    EXPECT_EQ(status_of(real(name)).st_uid, 1234u) << name;
    EXPECT_EQ(status_of(real(name)).st_gid, 2345u) << name;
  }
}

TEST_F(SlowSourceTest, AnUnlinkedFileLivesUntilItIsClosed) {
  write_file(at("file"), "data");
  const struct stat before = status_of(at("file"));
  const Descriptor file(open(at("file").c_str(), O_RDWR));
  fs::remove(at("file"));
  write_file(at("file"), "another");
  struct stat status{};
  ASSERT_EQ(fstat(file.fd, &status), 0);
  EXPECT_EQ(status.st_ino, before.st_ino);
  EXPECT_EQ(status.st_nlink, 0u);
  char text[5] = {};
  EXPECT_EQ(pread(file.fd, text, 4, 0), 4);
  EXPECT_STREQ(text, "data");
  EXPECT_EQ(fchmod(file.fd, 0600), 0);
  EXPECT_EQ(ftruncate(file.fd, 1), 0);
  EXPECT_EQ(read_file(at("file")), "another");
}

TEST_F(SlowSourceTest, ARemovedDirectoryIsKnownToItsUsers) {
  fs::create_directory(at("dir"));
  const Descriptor directory(open(at("dir").c_str(), O_PATH | O_DIRECTORY));
  const ino_t inode = status_of(at("dir")).st_ino;
  fs::remove(at("dir"));
  struct stat status{};
  ASSERT_EQ(fstatat(directory.fd, "", &status, AT_EMPTY_PATH), 0) << std::strerror(errno);
  EXPECT_EQ(status.st_ino, inode);
  EXPECT_EQ(error_of([&] { return openat(directory.fd, "new", O_CREAT | O_WRONLY, 0600); }),
            ENOENT);
}

TEST_F(SlowSourceTest, RenamesWithFlags) {
  write_file(at("a"), "a");
  write_file(at("b"), "b");
  const auto rename_with = [&](unsigned flags) {
    return error_of(
        [&] { return renameat2(AT_FDCWD, at("a").c_str(), AT_FDCWD, at("b").c_str(), flags); });
  };
  EXPECT_EQ(rename_with(RENAME_NOREPLACE), EEXIST);
  EXPECT_EQ(rename_with(RENAME_EXCHANGE), 0);
  EXPECT_EQ(read_file(at("a")), "b");
  EXPECT_EQ(read_file(at("b")), "a");
  EXPECT_EQ(rename_with(0), 0);
  EXPECT_EQ(stat_error(at("a")), ENOENT);
  EXPECT_EQ(read_file(real("b")), "b");
}

TEST_F(SlowSourceTest, KeepsExtendedAttributes) {
  write_file(at("file"), "");
  const std::string name = "user.larder", value = "value";
  if (setxattr(real("file").c_str(), "user.probe", "1", 1, 0) != 0)
    GTEST_SKIP() << "the directory has no user attributes";
  ASSERT_EQ(setxattr(at("file").c_str(), name.c_str(), value.data(), value.size(), XATTR_CREATE),
            0);
  EXPECT_EQ(
      error_of([&] { return setxattr(at("file").c_str(), name.c_str(), "", 0, XATTR_CREATE); }),
      EEXIST);
  char got[64];
  ASSERT_EQ(getxattr(real("file").c_str(), name.c_str(), got, sizeof got),
            static_cast<ssize_t>(value.size()));
  ASSERT_EQ(getxattr(at("file").c_str(), name.c_str(), nullptr, 0),
            static_cast<ssize_t>(value.size()));
  ASSERT_EQ(getxattr(at("file").c_str(), name.c_str(), got, sizeof got),
            static_cast<ssize_t>(value.size()));
  EXPECT_EQ(std::string(got, value.size()), value);
  EXPECT_EQ(error_of([&] { return getxattr(at("file").c_str(), name.c_str(), got, 1); }), ERANGE);
  const ssize_t length = listxattr(at("file").c_str(), got, sizeof got);
  ASSERT_GT(length, 0);
  EXPECT_THAT(std::string(got, static_cast<size_t>(length)), testing::HasSubstr(name));
  ASSERT_EQ(removexattr(at("file").c_str(), name.c_str()), 0);
  EXPECT_EQ(error_of([&] { return getxattr(at("file").c_str(), name.c_str(), got, sizeof got); }),
            ENODATA);
}

TEST_F(SlowSourceTest, ListsADirectoryOfManyOnceEach) {
  constexpr int kFiles = 3000;
  std::set<std::string> expected, seen;
  for (int i = 0; i < kFiles; ++i) {
    const std::string name = "a name that takes some room " + std::to_string(i);
    expected.insert(name);
    write_file(real(name), "");
  }
  for (const auto& entry : fs::directory_iterator(source_->mountpoint()))
    EXPECT_TRUE(seen.insert(entry.path().filename()).second) << entry.path();
  EXPECT_EQ(seen, expected);
}

TEST_F(SlowSourceTest, AllocatesPunchesAndSeeksHoles) {
  constexpr off_t kPart = 1 << 16;
  const Descriptor file(open(at("file").c_str(), O_CREAT | O_RDWR, 0600));
  const std::string data(3 * kPart, 'x');
  ASSERT_EQ(pwrite(file.fd, data.data(), data.size(), 0), static_cast<ssize_t>(data.size()));
  ASSERT_EQ(fallocate(file.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, kPart, kPart), 0);
  EXPECT_EQ(lseek(file.fd, 0, SEEK_HOLE), kPart);
  EXPECT_EQ(lseek(file.fd, kPart, SEEK_DATA), 2 * kPart);
  ASSERT_EQ(fallocate(file.fd, 0, 0, 4 * kPart), 0);
  EXPECT_EQ(status_of(at("file")).st_size, 4 * kPart);
  EXPECT_EQ(fsync(file.fd), 0);
  EXPECT_EQ(fdatasync(file.fd), 0);
  const Descriptor copy(open(at("copy").c_str(), O_CREAT | O_RDWR, 0600));
  off_t from = 0;
  ASSERT_EQ(copy_file_range(file.fd, &from, copy.fd, nullptr, kPart, 0), kPart);
  EXPECT_EQ(read_file(real("copy")), std::string(kPart, 'x'));
}

TEST_F(SlowSourceTest, AppendsAtTheEndThatIs) {
  write_file(at("log"), "1");
  const Descriptor file(open(at("log").c_str(), O_WRONLY | O_APPEND));
  write_file(real("log"), "12345");
  ASSERT_EQ(write(file.fd, "6", 1), 1);
  EXPECT_EQ(read_file(real("log")), "123456");
}

TEST_F(SlowSourceTest, ReportsTheSpaceOfTheDirectory) {
  struct statvfs seen, is;
  ASSERT_EQ(statvfs(at("").c_str(), &seen), 0);
  ASSERT_EQ(statvfs(real("").c_str(), &is), 0);
  EXPECT_EQ(seen.f_blocks * seen.f_frsize, is.f_blocks * is.f_frsize);
}

TEST_F(SlowSourceTest, CountsRequestsByKind) {
  write_file(real("file"), "data");
  source_->reset_requests();
  EXPECT_EQ(source_->requests("total"), 0u);
  for (int i = 0; i < 3; ++i) {
    const Descriptor file(open(at("file").c_str(), O_RDONLY));
    char text[4];
    ASSERT_EQ(pread(file.fd, text, sizeof text, 0), 4);
    ASSERT_EQ(pread(file.fd, text, sizeof text, 0), 4);
  }
  EXPECT_EQ(source_->requests("open"), 3u);
  EXPECT_EQ(source_->requests("read"), 6u);
  EXPECT_EQ(source_->requests("write"), 0u);
  source_->set("direct_io", "0");
  source_->reset_requests();
  const Descriptor file(open(at("file").c_str(), O_RDONLY));
  char text[4];
  ASSERT_EQ(pread(file.fd, text, sizeof text, 0), 4);
  ASSERT_EQ(pread(file.fd, text, sizeof text, 0), 4);
  EXPECT_EQ(source_->requests("read"), 1u);
}

TEST_F(SlowSourceTest, TheKernelKeepsAttributesOnlyWhenToldSo) {
  write_file(real("file"), "data");
  EXPECT_EQ(stat_error(at("file")), 0);
  source_->reset_requests();
  EXPECT_EQ(stat_error(at("file")), 0);
  EXPECT_EQ(stat_error(at("file")), 0);
  EXPECT_GE(source_->requests("lookup"), 2u);
  ASSERT_TRUE(source_->set("attr_ttl_ms", "3600000"));
  EXPECT_EQ(stat_error(at("file")), 0);
  source_->reset_requests();
  EXPECT_EQ(stat_error(at("file")), 0);
  EXPECT_EQ(source_->requests("lookup") + source_->requests("getattr"), 0u);
}

TEST_F(SlowSourceTest, FailsTheRequestsItIsToldTo) {
  const Descriptor file(open(at("file").c_str(), O_CREAT | O_RDWR, 0600));
  const auto write_error = [&] { return error_of([&] { return pwrite(file.fd, "x", 1, 0); }); };
  ASSERT_TRUE(source_->set("fail", "write:ENOSPC:2:1"));
  EXPECT_EQ(write_error(), 0);
  EXPECT_EQ(write_error(), ENOSPC);
  EXPECT_EQ(write_error(), ENOSPC);
  EXPECT_EQ(write_error(), 0);
  ASSERT_TRUE(source_->set("fail", "lookup:EIO:*"));
  EXPECT_EQ(stat_error(at("file")), EIO);
  EXPECT_EQ(stat_error(at("file")), EIO);
  ASSERT_TRUE(source_->set("fail", ""));
  EXPECT_EQ(stat_error(at("file")), 0);
}

TEST_F(SlowSourceTest, RefusesSettingsItDoesNotKnow) {
  for (const auto& [key, value] :
       std::vector<std::pair<std::string, std::string>>{{"latency_ms", "fast"},
                                                        {"latency", "1"},
                                                        {"hang", "2"},
                                                        {"fail", "dance:EIO"},
                                                        {"fail", "read:ENOTHING"},
                                                        {"fail", "read:EIO:x"},
                                                        {"down", "EWRONG"}})
    EXPECT_FALSE(source_->set(key, value)) << key << "=" << value;
}

TEST_F(SlowSourceTest, IsDownUntilItIsUp) {
  write_file(at("file"), "data");
  ASSERT_TRUE(source_->set("down", "1"));
  EXPECT_EQ(stat_error(at("file")), ENOTCONN);
  ASSERT_TRUE(source_->set("down", "EHOSTDOWN"));
  EXPECT_EQ(stat_error(at("file")), EHOSTDOWN);
  ASSERT_TRUE(source_->set("down", "0"));
  EXPECT_EQ(read_file(at("file")), "data");
}

TEST_F(SlowSourceTest, WaitsAsLongAsItIsToldTo) {
  write_file(real("file"), "data");
  ASSERT_TRUE(source_->set("latency_ms", "30"));
  const auto start = steady_clock::now();
  EXPECT_EQ(stat_error(at("file")), 0);
  EXPECT_GE(steady_clock::now() - start, std::chrono::milliseconds(30));
}

TEST_F(SlowSourceTest, ItsLinkIsAsWideAsItIsToldTo) {
  constexpr size_t kBytes = 400'000;
  write_file(real("file"), std::string(kBytes, 'x'));
  ASSERT_TRUE(source_->set("bandwidth_mb_s", "4"));
  const auto start = steady_clock::now();
  EXPECT_EQ(read_file(at("file")).size(), kBytes);
  // All but the first moment: the link carries 4 bytes a microsecond.
  EXPECT_GE(steady_clock::now() - start, std::chrono::microseconds(kBytes / 4 - 1));
}

TEST_F(SlowSourceTest, ManyRequestsHangAtOnceAndAreReleased) {
  constexpr size_t kRequests = 128;
  for (size_t i = 0; i < kRequests; ++i) write_file(real(std::to_string(i)), "data");
  ASSERT_TRUE(source_->set("hang", "1"));
  std::vector<int> errors(kRequests, -1);
  std::vector<std::jthread> threads;
  for (size_t i = 0; i < kRequests; ++i)
    threads.emplace_back([&, i] { errors[i] = stat_error(at(std::to_string(i))); });
  EXPECT_TRUE(source_->wait_hung(kRequests));
  ASSERT_TRUE(source_->set("hang", "0"));
  threads.clear();
  EXPECT_EQ(errors, std::vector<int>(kRequests, 0));
  EXPECT_EQ(source_->hung(), 0u);
}

TEST_F(SlowSourceTest, AnOutageReachesWhatHangs) {
  ASSERT_TRUE(source_->set("hang", "1"));
  int error = 0;
  std::jthread thread([&] { error = stat_error(at("file")); });
  EXPECT_TRUE(source_->wait_hung(1));
  ASSERT_TRUE(source_->set("down", "1"));
  thread.join();
  EXPECT_EQ(error, ENOTCONN);
}

TEST_F(SlowSourceTest, EndsWhileRequestsHang) {
  ASSERT_TRUE(source_->set("hang", "1"));
  const std::string home = fs::path(source_->directory()).parent_path();
  const std::string path = at("file");
  int error = 0;
  std::jthread thread([&] { error = stat_error(path); });
  EXPECT_TRUE(source_->wait_hung(1));
  source_.reset();
  thread.join();
  EXPECT_NE(error, 0);
  EXPECT_FALSE(fs::exists(home));
}

// In a mount namespace of its own, where the control file system is not mounted.
bool aborts_without_control_file_system(int connection) {
  constexpr const char* kConnections = "/sys/fs/fuse/connections";
  if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0)
    return false;
  while (umount(kConnections) == 0) {
  }
  return slow_source::abort_connection(connection);
}

TEST_F(SlowSourceTest, CanBeAbortedWhereTheControlFileSystemIsNotMounted) {
  ASSERT_TRUE(source_->set("hang", "1"));
  int error = 0;
  std::jthread thread([&] { error = stat_error(at("file")); });
  EXPECT_TRUE(source_->wait_hung(1));
  const int connection = slow_source::connection_of(source_->mountpoint());
  ASSERT_GE(connection, 0);
  EXPECT_EXIT(_exit(aborts_without_control_file_system(connection) ? 0 : 1),
              testing::ExitedWithCode(0), "mounted fusectl");
  thread.join();
  EXPECT_EQ(error, ECONNABORTED);
}

TEST_F(SlowSourceTest, KillsAProcessAtARequest) {
  write_file(real("file"), "text");
  const pid_t victim = fork();
  if (victim == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    pause();
    _exit(0);
  }
  EXPECT_FALSE(source_->set("kill", "1"));
  EXPECT_FALSE(source_->set("kill", std::to_string(victim) + ":nonsense"));
  ASSERT_TRUE(source_->set("kill", std::to_string(victim) + ":read:1"));
  int status = 0;
  EXPECT_EQ(read_file(at("file")), "text");  // two requests: the second finds the end
  EXPECT_EQ(waitpid(victim, &status, 0), victim);
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

TEST_F(SlowSourceTest, CanBeKilled) {
  source_->set("hang", "1");
  int error = 0;
  std::jthread thread([&] { error = stat_error(at("file")); });
  EXPECT_TRUE(source_->wait_hung(1));
  source_->kill();
  thread.join();
  EXPECT_EQ(error, ECONNABORTED);
  EXPECT_EQ(stat_error(at("file")), ENOTCONN);
}

}  // namespace
}  // namespace larder::testing_support
