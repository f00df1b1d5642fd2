// Every operation once, through system calls on a real mount.
#include <dirent.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cstring>
#include <set>

#include "support/fuse_mount.h"

namespace larder::testing {
namespace {

class FuseAdapter : public ::testing::Test {
 protected:
  void SetUp() override {
    if (const std::string why = FuseMount::missing(); !why.empty()) GTEST_SKIP() << why;
    mount_.emplace();
  }
  std::string path(const std::string& name) const { return mount_->path(name); }
  FakeFileSystem& files() { return mount_->files(); }
  std::optional<FuseMount> mount_;
};

class Fd {
 public:
  Fd(const std::string& path, int flags, mode_t mode = 0)
      : fd_(::open(path.c_str(), flags, mode)) {}
  ~Fd() { close(); }
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;
  operator int() const { return fd_; }
  int close() { return fd_ < 0 ? 0 : ::close(std::exchange(fd_, -1)); }

 private:
  int fd_;
};

std::string pattern(size_t size_bytes) {
  std::string text(size_bytes, '\0');
  for (size_t i = 0; i < text.size(); ++i)
    text[i] = static_cast<char>('a' + (i * 7 + i / 4096) % 26);
  return text;
}

std::string read_all(int fd) {
  std::string text;
  std::vector<char> part(1 << 20);
  for (;;) {
    const ssize_t got = ::read(fd, part.data(), part.size());
    EXPECT_GE(got, 0) << std::strerror(errno);
    if (got <= 0) return text;
    text.append(part.data(), static_cast<size_t>(got));
  }
}

struct stat stat_of(const std::string& path) {
  struct stat result{};
  EXPECT_EQ(::lstat(path.c_str(), &result), 0) << path << ": " << std::strerror(errno);
  return result;
}

TEST_F(FuseAdapter, CreatesWritesReadsAndTruncates) {
  const std::string text = pattern((3 << 20) + 123);
  {
    Fd fd(path("file"), O_CREAT | O_EXCL | O_RDWR, 0640);
    ASSERT_GE(fd, 0) << std::strerror(errno);
    ASSERT_EQ(::write(fd, text.data(), text.size()), static_cast<ssize_t>(text.size()));
    EXPECT_EQ(::fsync(fd), 0);
    EXPECT_EQ(::fdatasync(fd), 0);
    EXPECT_EQ(fd.close(), 0);
  }
  EXPECT_GT(files().flushes(), 0U);
  EXPECT_EQ(files().data("file"), text);
  const struct stat after = stat_of(path("file"));
  EXPECT_EQ(static_cast<size_t>(after.st_size), text.size());
  EXPECT_EQ(after.st_mode, static_cast<mode_t>(S_IFREG | 0640));
  EXPECT_EQ(after.st_ino, files().node_id("file"));
  Fd fd(path("file"), O_RDWR);
  EXPECT_EQ(read_all(fd), text);
  ASSERT_EQ(::ftruncate(fd, 10), 0);
  EXPECT_EQ(files().data("file"), text.substr(0, 10));
  Fd truncated(path("file"), O_WRONLY | O_TRUNC);
  ASSERT_GE(truncated, 0);
  EXPECT_EQ(files().data("file"), "");
  EXPECT_LT(::open(path("file").c_str(), O_CREAT | O_EXCL | O_RDWR, 0600), 0);
  EXPECT_EQ(errno, EEXIST);
}

TEST_F(FuseAdapter, ReadOnlyHandlesAreClosedWithoutAFlush) {
  files().add_file("file", "text");
  {
    Fd fd(path("file"), O_RDONLY);
    EXPECT_EQ(read_all(fd), "text");
  }
  EXPECT_TRUE(eventually([&] { return files().open_handles() == 0; }));
  EXPECT_EQ(files().flushes(), 0U);
}

TEST_F(FuseAdapter, ChangesAttributes) {
  files().add_file("file", "text");
  const std::string file = path("file");
  ASSERT_EQ(::chmod(file.c_str(), 0701), 0);
  ASSERT_EQ(::chown(file.c_str(), 12, 34), 0);
  const timespec times[2] = {{.tv_sec = -5, .tv_nsec = 7}, {.tv_sec = 1'000'000'000, .tv_nsec = 9}};
  ASSERT_EQ(::utimensat(AT_FDCWD, file.c_str(), times, 0), 0);
  struct stat after = stat_of(file);
  EXPECT_EQ(after.st_mode, static_cast<mode_t>(S_IFREG | 0701));
  EXPECT_EQ(after.st_uid, 12U);
  EXPECT_EQ(after.st_gid, 34U);
  EXPECT_EQ(after.st_atim.tv_sec, -5);
  EXPECT_EQ(after.st_atim.tv_nsec, 7);
  EXPECT_EQ(after.st_mtim.tv_sec, 1'000'000'000);
  EXPECT_EQ(after.st_mtim.tv_nsec, 9);
  const timespec now[2] = {{.tv_sec = 0, .tv_nsec = UTIME_OMIT},
                           {.tv_sec = 0, .tv_nsec = UTIME_NOW}};
  ASSERT_EQ(::utimensat(AT_FDCWD, file.c_str(), now, 0), 0);
  after = stat_of(file);
  EXPECT_EQ(after.st_atim.tv_sec, -5);
  EXPECT_GT(after.st_mtim.tv_sec, 1'000'000'000);
  ASSERT_EQ(::truncate(file.c_str(), 2), 0);
  EXPECT_EQ(files().data("file"), "te");
}

TEST_F(FuseAdapter, ShowsAndSetsAnyDate) {
  files().add_file("file", "text");
  const std::string file = path("file");
  // 1600, a tick before 1970, 2300 and the year 10000.
  for (const int64_t seconds : {-11'676'096'000, -1L, 10'413'792'000, 253'402'300'800}) {
    const timespec time{.tv_sec = seconds, .tv_nsec = 999'999'999};
    const timespec times[2] = {time, time};
    ASSERT_EQ(::utimensat(AT_FDCWD, file.c_str(), times, 0), 0);
    const struct stat after = stat_of(file);
    for (const timespec& shown : {after.st_atim, after.st_mtim}) {
      EXPECT_EQ(shown.tv_sec, seconds);
      EXPECT_EQ(shown.tv_nsec, 999'999'999);
    }
  }
}

TEST_F(FuseAdapter, MakesAndRemovesNames) {
  ASSERT_EQ(::mkdir(path("dir").c_str(), 0750), 0);
  ASSERT_EQ(::mknod(path("dir/fifo").c_str(), S_IFIFO | 0600, 0), 0);
  const dev_t device = makedev(1, 3);
  ASSERT_EQ(::mknod(path("dir/null").c_str(), S_IFCHR | 0600, device), 0);
  EXPECT_EQ(stat_of(path("dir/null")).st_rdev, device);
  EXPECT_TRUE(S_ISFIFO(stat_of(path("dir/fifo")).st_mode));
  ASSERT_EQ(::symlink("some/target", path("link").c_str()), 0);
  char target[64] = {};
  ASSERT_GT(::readlink(path("link").c_str(), target, sizeof target), 0);
  EXPECT_STREQ(target, "some/target");
  files().add_file("file", "text");
  ASSERT_EQ(::link(path("file").c_str(), path("other").c_str()), 0);
  EXPECT_EQ(stat_of(path("other")).st_nlink, 2U);
  EXPECT_EQ(stat_of(path("other")).st_ino, stat_of(path("file")).st_ino);
  EXPECT_EQ(::rmdir(path("dir").c_str()), -1);
  EXPECT_EQ(errno, ENOTEMPTY);
  ASSERT_EQ(::renameat2(AT_FDCWD, path("other").c_str(), AT_FDCWD, path("dir/moved").c_str(), 0),
            0);
  EXPECT_EQ(::renameat2(AT_FDCWD, path("file").c_str(), AT_FDCWD, path("dir/moved").c_str(),
                        RENAME_NOREPLACE),
            -1);
  EXPECT_EQ(errno, EEXIST);
  ASSERT_EQ(::renameat2(AT_FDCWD, path("link").c_str(), AT_FDCWD, path("dir/moved").c_str(),
                        RENAME_EXCHANGE),
            0);
  EXPECT_TRUE(S_ISLNK(stat_of(path("dir/moved")).st_mode));
  for (const char* name : {"dir/fifo", "dir/null", "dir/moved", "link", "file"})
    EXPECT_EQ(::unlink(path(name).c_str()), 0) << name;
  EXPECT_EQ(::rmdir(path("dir").c_str()), 0);
  EXPECT_EQ(::access(path("dir").c_str(), F_OK), -1);
  EXPECT_EQ(errno, ENOENT);
}

TEST_F(FuseAdapter, ExtendedAttributesFollowTheLengthProtocol) {
  files().add_file("file", "text");
  const std::string file = path("file");
  const std::string value = "value\0with a zero";
  ASSERT_EQ(::setxattr(file.c_str(), "user.one", value.data(), value.size(), XATTR_CREATE), 0);
  EXPECT_EQ(::setxattr(file.c_str(), "user.one", value.data(), value.size(), XATTR_CREATE), -1);
  EXPECT_EQ(errno, EEXIST);
  ASSERT_EQ(::setxattr(file.c_str(), "user.two", "", 0, 0), 0);
  const auto length = static_cast<ssize_t>(value.size());
  char buffer[256];
  EXPECT_EQ(::getxattr(file.c_str(), "user.one", nullptr, 0), length);
  EXPECT_EQ(::getxattr(file.c_str(), "user.one", buffer, 2), -1);
  EXPECT_EQ(errno, ERANGE);
  ASSERT_EQ(::getxattr(file.c_str(), "user.one", buffer, sizeof buffer), length);
  EXPECT_EQ(std::string(buffer, value.size()), value);
  const std::string names("user.one\0user.two\0", 18);
  EXPECT_EQ(::listxattr(file.c_str(), nullptr, 0), static_cast<ssize_t>(names.size()));
  EXPECT_EQ(::listxattr(file.c_str(), buffer, 3), -1);
  EXPECT_EQ(errno, ERANGE);
  ASSERT_EQ(::listxattr(file.c_str(), buffer, sizeof buffer), static_cast<ssize_t>(names.size()));
  EXPECT_EQ(std::string(buffer, names.size()), names);
  EXPECT_EQ(::removexattr(file.c_str(), "user.one"), 0);
  EXPECT_EQ(::removexattr(file.c_str(), "user.one"), -1);
  EXPECT_EQ(errno, ENODATA);
}

TEST_F(FuseAdapter, RangesAndSpace) {
  files().add_file("file", pattern(10'000));
  Fd fd(path("file"), O_RDWR);
  EXPECT_EQ(::posix_fallocate(fd, 0, 20'000), 0);
  EXPECT_EQ(files().data("file").size(), 20'000U);
  EXPECT_EQ(::fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096), -1);
  EXPECT_EQ(errno, EOPNOTSUPP);
  EXPECT_EQ(::lseek(fd, 100, SEEK_DATA), 100);
  EXPECT_EQ(::lseek(fd, 100, SEEK_HOLE), 20'000);
  Fd to(path("copy"), O_CREAT | O_RDWR, 0600);
  off_t from_offset = 10;
  off_t to_offset = 5;
  ASSERT_EQ(::copy_file_range(fd, &from_offset, to, &to_offset, 1000, 0), 1000);
  EXPECT_EQ(files().data("copy").substr(5), files().data("file").substr(10, 1000));
  struct statvfs space{};
  ASSERT_EQ(::statvfs(mount_->root().c_str(), &space), 0);
  EXPECT_EQ(space.f_blocks, 1000U);
  EXPECT_EQ(space.f_namemax, 255U);
  Fd directory(mount_->root(), O_RDONLY | O_DIRECTORY);
  EXPECT_EQ(::fsync(directory), 0);
}

TEST_F(FuseAdapter, ListsManyEntriesAndCanGoBack) {
  constexpr int kFiles = 10'000;
  for (int i = 0; i < kFiles; ++i) files().add_file("file" + std::to_string(i), "x");
  DIR* directory = ::opendir(mount_->root().c_str());
  ASSERT_NE(directory, nullptr);
  std::vector<std::pair<std::string, long>> seen;
  while (const dirent* entry = ::readdir(directory)) {
    seen.emplace_back(entry->d_name, ::telldir(directory));
    if (seen.size() % 1000 == 0) ::unlink(path(seen.back().first).c_str());
  }
  std::set<std::string> names;
  for (const auto& [name, position] : seen) names.insert(name);
  EXPECT_EQ(seen.size(), kFiles + 2U);
  EXPECT_EQ(names.size(), seen.size()) << "no name twice";
  // Every position leads to the name after it, also after changes.
  for (size_t i = 500; i + 1 < seen.size(); i += 777) {
    if ((i + 2) % 1000 == 0) continue;  // removed above
    ::seekdir(directory, seen[i].second);
    const dirent* entry = ::readdir(directory);
    ASSERT_NE(entry, nullptr);
    EXPECT_EQ(entry->d_name, seen[i + 1].first);
  }
  ::closedir(directory);
  EXPECT_TRUE(eventually([&] { return files().open_handles() == 0; }));
  EXPECT_GT(files().listed_lookups(), 0U) << "readdirplus brought nodes";
  mount_->end();
}

TEST_F(FuseAdapter, HitsAreAnsweredWhileTheSlowPathHangs) {
  files().add_file("file", "text");
  ASSERT_EQ(stat_of(path("file")).st_size, 4);
  files().set_hits(true);
  files().hang();
  files().add_file("later", "more text");
  EXPECT_EQ(stat_of(path("later")).st_size, 9);
  {
    Fd fd(path("later"), O_RDONLY);
    EXPECT_GE(fd, 0);
  }
  EXPECT_TRUE(eventually([&] { return files().open_handles() == 0; }));
  files().go_on();
}

TEST_F(FuseAdapter, AStaleOpenSucceedsForTheUser) {
  files().add_file("file", "text");
  ASSERT_EQ(stat_of(path("file")).st_size, 4);
  const uint64_t opens = files().opens();
  files().make_stale("file");
  Fd fd(path("file"), O_RDONLY);
  ASSERT_GE(fd, 0) << std::strerror(errno);
  EXPECT_EQ(read_all(fd), "text");
  EXPECT_EQ(files().opens(), opens + 2);
}

TEST_F(FuseAdapter, PassthroughReadsTheObjectItself) {
  const std::string object_text = pattern(100'000);
  const std::string fake_text(object_text.size(), '-');
  files().add_file("file", fake_text);
  Fd object(mount_->outside("object"), O_CREAT | O_RDWR, 0600);
  ASSERT_EQ(::write(object, object_text.data(), object_text.size()),
            static_cast<ssize_t>(object_text.size()));
  ASSERT_EQ(stat_of(mount_->root()).st_ino, 1U);  // INIT is over
  if (!mount_->session().passthrough_available()) GTEST_SKIP() << "no passthrough in this kernel";
  files().set_object("file", object);
  {
    Fd fd(path("file"), O_RDONLY);
    ASSERT_GE(fd, 0) << std::strerror(errno);
    Fd second(path("file"), O_RDONLY);
    EXPECT_EQ(read_all(fd), object_text);
    EXPECT_EQ(read_all(second), object_text);
    EXPECT_EQ(files().reads(), 0U);
  }
  EXPECT_TRUE(eventually([&] { return files().open_handles() == 0; }));
  files().set_object("file", -1);
  Fd fd(path("file"), O_RDONLY);
  EXPECT_EQ(read_all(fd), fake_text) << "the mode is chosen anew after the last close";
}

TEST_F(FuseAdapter, PassthroughCanBeTurnedOff) {
  mount_.reset();
  mount_.emplace(nullptr, fuse::SessionOptions{.passthrough = false});
  ASSERT_EQ(stat_of(mount_->root()).st_ino, 1U);
  EXPECT_FALSE(mount_->session().passthrough_available());
  files().add_file("file", "text");
  Fd fd(path("file"), O_RDONLY);
  EXPECT_EQ(read_all(fd), "text");
}

TEST_F(FuseAdapter, InvalidationReachesTheKernel) {
  files().add_file("file", "text");
  ASSERT_EQ(stat_of(path("file")).st_size, 4);
  const uint64_t asked = files().attribute_requests();
  ASSERT_EQ(stat_of(path("file")).st_size, 4);
  ASSERT_EQ(files().attribute_requests(), asked) << "the kernel believes its attributes";
  mount_->session().invalidate_node(fs::KernelId{files().node_id("file")});
  EXPECT_TRUE(eventually(
      [&] { return stat_of(path("file")).st_size == 4 && files().attribute_requests() > asked; }));
  EXPECT_EQ(::access(path("absent").c_str(), F_OK), -1);
  files().add_file("absent", "now here");
  EXPECT_EQ(::access(path("absent").c_str(), F_OK), -1) << "believed for its time to live";
  mount_->session().expire_entry(fs::KernelId{1}, "absent");
  EXPECT_TRUE(eventually([&] { return ::access(path("absent").c_str(), F_OK) == 0; }));
}

TEST_F(FuseAdapter, AWriteWaitsForABufferRatherThanFail) {
  mount_.reset();
  constexpr size_t kPool = 1 << 20;
  mount_.emplace(nullptr, fuse::SessionOptions{}, kPool);
  buffer::BufferRef all = mount_->pool().allocate(kPool);
  ASSERT_TRUE(all);
  Fd fd(path("file"), O_CREAT | O_RDWR, 0600);
  std::atomic<bool> written{false};
  std::thread writer([&] {
    EXPECT_EQ(::write(fd, "text", 4), 4);
    written.store(true);
  });
  EXPECT_EQ(stat_of(mount_->root()).st_ino, 1U) << "others are served meanwhile";
  EXPECT_FALSE(written.load());
  all = {};
  writer.join();
  EXPECT_EQ(files().data("file"), "text");
}

}  // namespace
}  // namespace larder::testing
