// Interrupts, locks between processes, virtual files, and the end of a mount.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <optional>

#include "support/fuse_mount.h"

namespace larder::testing {
namespace {

class FuseSession : public ::testing::Test {
 protected:
  void SetUp() override {
    if (const std::string why = FuseMount::missing(); !why.empty()) GTEST_SKIP() << why;
    mount_.emplace();
  }
  std::string path(const std::string& name) const { return mount_->path(name); }
  FakeFileSystem& files() { return mount_->files(); }
  std::optional<FuseMount> mount_;
};

// A child process that runs `work` and exits with its result; killed at the end of the scope.
class Child {
 public:
  template <class Work>
  explicit Child(Work work) : pid_(::fork()) {
    if (pid_ == 0) ::_exit(work());
  }
  ~Child() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  void signal(int number) const { ::kill(pid_, number); }
  pid_t pid() const { return pid_; }
  // Its wait status.
  int wait() {
    int status = 0;
    ::waitpid(std::exchange(pid_, -1), &status, 0);
    return status;
  }
  bool ended() {
    int status = 0;
    if (::waitpid(pid_, &status, WNOHANG) != pid_) return false;
    pid_ = -1;
    return true;
  }

 private:
  pid_t pid_;
};

struct flock range(short type, off_t first, off_t length) {
  struct flock lock{};
  lock.l_type = type;
  lock.l_whence = SEEK_SET;
  lock.l_start = first;
  lock.l_len = length;
  return lock;
}

TEST_F(FuseSession, AProcessStuckOnAHungSourceCanBeKilled) {
  files().add_file("file", "text");
  const std::string file = path("file");
  const int fd = ::open(file.c_str(), O_RDONLY);
  ASSERT_GE(fd, 0);
  files().hang();
  Child reader([fd] {
    char byte;
    return static_cast<int>(::read(fd, &byte, 1));
  });
  Child looker([&] { return ::access(path("another").c_str(), F_OK); });
  ASSERT_TRUE(eventually([&] { return files().hanging_count() == 2; }));
  reader.signal(SIGKILL);
  looker.signal(SIGTERM);
  EXPECT_TRUE(WIFSIGNALED(reader.wait()));
  EXPECT_TRUE(WIFSIGNALED(looker.wait()));
  EXPECT_EQ(files().hanging_count(), 2) << "the source still hangs";
  files().go_on();
  ::close(fd);
  EXPECT_TRUE(eventually([&] { return files().open_handles() == 0; }));
}

TEST_F(FuseSession, ASignalThatDoesNotKillDoesNotDisturbARead) {
  files().add_file("file", "text");
  const int fd = ::open(path("file").c_str(), O_RDONLY);
  ASSERT_GE(fd, 0);
  files().hang();
  Child reader([fd] {
    struct sigaction action{};
    action.sa_handler = [](int) {};
    ::sigaction(SIGUSR1, &action, nullptr);
    char byte;
    return static_cast<int>(::read(fd, &byte, 1));
  });
  ASSERT_TRUE(eventually([&] { return files().hanging_count() == 1; }));
  reader.signal(SIGUSR1);
  files().go_on();
  const int status = reader.wait();
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 1) << "one byte was read";
  ::close(fd);
}

TEST_F(FuseSession, ALookupThatIsNotWantedAnyMoreIsForgotten) {
  files().add_file("file", "text");
  files().hang();
  Child looker([&] { return ::access(path("file").c_str(), F_OK); });
  ASSERT_TRUE(eventually([&] { return files().hanging_count() == 1; }));
  looker.signal(SIGKILL);
  EXPECT_TRUE(WIFSIGNALED(looker.wait()));
  files().go_on();
  EXPECT_TRUE(eventually([&] { return files().hanging_count() == 0 && files().lookups() == 0; }));
}

// --- locks

TEST_F(FuseSession, PosixLocksHoldBetweenProcesses) {
  files().add_file("file", "text");
  const std::string file = path("file");
  const int fd = ::open(file.c_str(), O_RDWR);
  ASSERT_GE(fd, 0);
  struct flock mine = range(F_WRLCK, 10, 10);
  ASSERT_EQ(::fcntl(fd, F_SETLK, &mine), 0) << std::strerror(errno);
  Child other([&] {
    const int own = ::open(file.c_str(), O_RDWR);
    struct flock lock = range(F_WRLCK, 0, 0);
    if (::fcntl(own, F_SETLK, &lock) == 0 || errno != EAGAIN) return 1;
    if (::fcntl(own, F_GETLK, &lock) != 0) return 2;
    if (lock.l_type != F_WRLCK || lock.l_start != 10 || lock.l_len != 10) return 3;
    if (lock.l_pid != ::getppid()) return 4;
    lock = range(F_WRLCK, 20, 0);
    return ::fcntl(own, F_SETLK, &lock) == 0 ? 0 : 5;
  });
  EXPECT_EQ(other.wait(), 0);
  ::close(fd);
}

TEST_F(FuseSession, ABlockedLockIsGrantedWhenTheHolderCloses) {
  files().add_file("file", "text");
  const std::string file = path("file");
  const int fd = ::open(file.c_str(), O_RDWR);
  struct flock mine = range(F_WRLCK, 0, 0);
  ASSERT_EQ(::fcntl(fd, F_SETLK, &mine), 0);
  const auto waits = [&] {
    const int own = ::open(file.c_str(), O_RDWR);
    struct flock lock = range(F_WRLCK, 0, 0);
    return ::fcntl(own, F_SETLKW, &lock) == 0 ? 0 : 1;
  };
  Child killed(waits);
  Child granted(waits);
  // Both have opened: handles of this process's file and theirs.
  ASSERT_TRUE(eventually([&] { return files().open_handles() == 3; }));
  killed.signal(SIGKILL);
  EXPECT_TRUE(WIFSIGNALED(killed.wait()));
  EXPECT_FALSE(granted.ended());
  ::close(fd);
  EXPECT_EQ(granted.wait(), 0);
}

TEST_F(FuseSession, FlocksAndOpenFileLocksEndWithTheirFile) {
  files().add_file("file", "text");
  const std::string file = path("file");
  const int first = ::open(file.c_str(), O_RDWR);
  const int second = ::open(file.c_str(), O_RDWR);
  ASSERT_EQ(::flock(first, LOCK_EX), 0);
  EXPECT_EQ(::flock(second, LOCK_SH | LOCK_NB), -1);
  EXPECT_EQ(errno, EWOULDBLOCK);
  struct flock open_file = range(F_WRLCK, 0, 5);
  ASSERT_EQ(::fcntl(first, F_OFD_SETLK, &open_file), 0);
  open_file = range(F_WRLCK, 4, 1);
  EXPECT_EQ(::fcntl(second, F_OFD_SETLK, &open_file), -1);
  ::close(first);
  EXPECT_EQ(::flock(second, LOCK_EX), 0);
  EXPECT_TRUE(eventually([&] { return ::fcntl(second, F_OFD_SETLK, &open_file) == 0; }));
  ::close(second);
}

TEST_F(FuseSession, ADeadlockOfTwoProcessesIsRefused) {
  files().add_file("file", "text");
  const std::string file = path("file");
  const int fd = ::open(file.c_str(), O_RDWR);
  struct flock mine = range(F_WRLCK, 0, 1);
  ASSERT_EQ(::fcntl(fd, F_SETLK, &mine), 0);
  int pipe_fds[2];
  ASSERT_EQ(::pipe(pipe_fds), 0);
  Child other([&] {
    const int own = ::open(file.c_str(), O_RDWR);
    struct flock theirs = range(F_WRLCK, 1, 1);
    ::fcntl(own, F_SETLK, &theirs);
    if (::write(pipe_fds[1], "x", 1) != 1) return 1;
    struct flock wanted = range(F_WRLCK, 0, 1);
    return ::fcntl(own, F_SETLKW, &wanted) == 0 ? 0 : errno == EDEADLK ? 0 : 2;
  });
  char byte;
  ASSERT_EQ(::read(pipe_fds[0], &byte, 1), 1);
  struct flock wanted = range(F_WRLCK, 1, 1);
  // Whichever comes second is refused; then the other goes on.
  const int result = ::fcntl(fd, F_SETLKW, &wanted);
  EXPECT_TRUE(result == 0 || errno == EDEADLK);
  ::close(fd);
  EXPECT_EQ(other.wait(), 0);
  ::close(pipe_fds[0]);
  ::close(pipe_fds[1]);
}

// --- virtual files

class Control final : public fs::VirtualDirectory {
 public:
  std::string_view name() const override { return ".larder"; }
  const std::vector<fs::VirtualFile>& files() const override { return files_; }

 private:
  const std::vector<fs::VirtualFile> files_ = {
      {.name = "status",
       .permissions = 0400,
       .read = [] { return std::string("all is well\n"); },
       .write = {}},
      {.name = "control",
       .permissions = 0600,
       .read = [] { return std::string(); },
       .write = [](std::string_view line, uint64_t) { return "did " + std::string(line); }}};
};

std::string read_file(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY);
  if (fd < 0) return std::strerror(errno);
  char text[256];
  const ssize_t got = ::read(fd, text, sizeof text);
  ::close(fd);
  return got < 0 ? std::strerror(errno) : std::string(text, static_cast<size_t>(got));
}

TEST_F(FuseSession, VirtualFilesWorkWhileTheSourceHangs) {
  mount_.reset();
  static const Control control;  // outlives the mount
  mount_.emplace(&control, fuse::SessionOptions{.allow_other = true});
  ASSERT_EQ(::access(mount_->root().c_str(), F_OK), 0);
  files().hang();
  EXPECT_EQ(read_file(path(".larder/status")), "all is well\n");
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(path(".larder")))
    names.push_back(entry.path().filename());
  EXPECT_EQ(names, (std::vector<std::string>{"status", "control"}));
  const int fd = ::open(path(".larder/control").c_str(), O_RDWR | O_TRUNC);
  ASSERT_GE(fd, 0) << std::strerror(errno);
  ASSERT_EQ(::write(fd, "one\n", 4), 4);
  ASSERT_EQ(::write(fd, "two\n", 4), 4);
  char text[64] = {};
  ASSERT_EQ(::read(fd, text, 4), 4);
  EXPECT_EQ(std::string(text, 4), "did ");
  const ssize_t rest = ::read(fd, text, sizeof text);
  ASSERT_GT(rest, 0);
  EXPECT_EQ(std::string(text, static_cast<size_t>(rest)), "one\ndid two\n");
  ::close(fd);
  EXPECT_LT(::open(path(".larder/status").c_str(), O_RDONLY | O_CREAT | O_EXCL, 0600), 0);
  EXPECT_EQ(::unlink(path(".larder/status").c_str()), -1);
  EXPECT_EQ(errno, EPERM);
  EXPECT_EQ(::mkdir(path(".larder/more").c_str(), 0700), -1);
}

TEST_F(FuseSession, VirtualFilesAreHiddenAndForTheOwnerOnly) {
  mount_.reset();
  static const Control control;  // outlives the mount
  mount_.emplace(&control, fuse::SessionOptions{.allow_other = true});
  files().add_file("file", "text");
  std::filesystem::permissions(mount_->outside(""), std::filesystem::perms(0755));
  for (const auto& entry : std::filesystem::directory_iterator(mount_->root()))
    EXPECT_NE(entry.path().filename(), ".larder");
  const std::string status = path(".larder/status");
  const std::string file = path("file");
  Child stranger([&] {
    if (::setresgid(12345, 12345, 12345) != 0 || ::setresuid(12345, 12345, 12345) != 0) return 1;
    if (::open(file.c_str(), O_RDONLY) < 0) return 2;
    if (::open(status.c_str(), O_RDONLY) >= 0) return 3;
    return errno == EACCES ? 0 : 4;
  });
  const int result = stranger.wait();
  ASSERT_TRUE(WIFEXITED(result));
  EXPECT_EQ(WEXITSTATUS(result), 0);
}

// --- the end

TEST_F(FuseSession, UnmountedFromOutsideItReturns) {
  files().add_file("file", "text");
  ASSERT_EQ(::access(path("file").c_str(), F_OK), 0);
  ASSERT_EQ(::umount2(mount_->root().c_str(), 0), 0) << std::strerror(errno);
  mount_->wait_served();
  EXPECT_FALSE(mount_->in_mount_table());
}

TEST_F(FuseSession, ABusyMountIsTornOff) {
  mount_.reset();
  mount_.emplace(nullptr, fuse::SessionOptions{.busy_timeout = Nanos(0)});
  files().add_file("file", "text");
  const int fd = ::open(path("file").c_str(), O_RDONLY);
  ASSERT_GE(fd, 0);
  mount_->session().stop();
  mount_->wait_served();
  EXPECT_FALSE(mount_->in_mount_table());
  char byte;
  EXPECT_EQ(::read(fd, &byte, 1), -1);
  ::close(fd);
}

TEST_F(FuseSession, AnAbortedConnectionLeavesNothingBehind) {
  files().add_file("file", "text");
  files().add_file("other", "text");
  ASSERT_EQ(::access(path("other").c_str(), F_OK), 0);
  files().hang();
  Child opener([&] { return ::open(path("other").c_str(), O_RDONLY) < 0 ? 0 : 1; });
  Child looker([&] { return ::access(path("file").c_str(), F_OK) != 0 ? 0 : 1; });
  ASSERT_TRUE(eventually([&] { return files().hanging_count() == 2; }));
  const uint64_t lookups = files().lookups();
  ASSERT_EQ(::umount2(mount_->root().c_str(), MNT_FORCE | MNT_DETACH), 0);
  EXPECT_EQ(opener.wait(), 0) << "no reader is left hanging";
  EXPECT_EQ(looker.wait(), 0);
  EXPECT_FALSE(mount_->served()) << "requests are still under way";
  files().go_on();
  mount_->wait_served();
  EXPECT_FALSE(mount_->in_mount_table());
  EXPECT_EQ(files().open_handles(), 0U) << "the open that came too late was released";
  EXPECT_EQ(files().lookups(), lookups) << "the lookup that came too late was forgotten";
}

TEST_F(FuseSession, StoppingLetsBlockedLocksGo) {
  mount_.reset();
  mount_.emplace(nullptr, fuse::SessionOptions{.busy_timeout = Nanos(0)});
  files().add_file("file", "text");
  const std::string file = path("file");
  const int fd = ::open(file.c_str(), O_RDWR);
  struct flock mine = range(F_WRLCK, 0, 0);
  ASSERT_EQ(::fcntl(fd, F_SETLK, &mine), 0);
  Child waiter([&] {
    const int own = ::open(file.c_str(), O_RDWR);
    struct flock lock = range(F_WRLCK, 0, 0);
    return ::fcntl(own, F_SETLKW, &lock) == 0 ? 1 : 0;
  });
  ASSERT_TRUE(eventually([&] { return files().open_handles() == 2; }));
  mount_->session().stop();
  mount_->wait_served();
  EXPECT_EQ(waiter.wait(), 0);
  ::close(fd);
}

}  // namespace
}  // namespace larder::testing
