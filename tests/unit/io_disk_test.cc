#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "io/disk.h"
#include "io/posix_disk.h"

namespace larder::io {
namespace {

namespace fs = std::filesystem;
using testing::UnorderedElementsAre;

constexpr size_t kPage = 4096;

std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text));
}

class PosixDiskTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "io_disk_XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    base_ = pattern;
    fs::create_directory(base_ / "root");
    std::ofstream(base_ / "outside") << "secret";
    auto disk = open_posix_disk((base_ / "root").string());
    ASSERT_TRUE(disk) << disk.error().message();
    disk_ = std::move(*disk);
  }
  void TearDown() override { fs::remove_all(base_); }

  std::unique_ptr<File> create(const std::string& path) {
    auto file = disk_->open(path, OpenMode::kCreateNew);
    EXPECT_TRUE(file) << file.error().message();
    return file ? std::move(*file) : nullptr;
  }
  static std::string content(File& file, uint64_t offset, size_t size) {
    std::string text(size, '?');
    const auto n = file.read_at(std::as_writable_bytes(std::span(text)), offset);
    EXPECT_TRUE(n);
    text.resize(n.value_or(0));
    return text;
  }

  fs::path base_;
  std::unique_ptr<Disk> disk_;
};

TEST_F(PosixDiskTest, ReadsBackWhatWasWritten) {
  const auto file = create("f");
  const std::string text = "some bytes";
  ASSERT_TRUE(file->write_at(bytes_of(text), 100));
  ASSERT_TRUE(file->sync_data());
  EXPECT_EQ(content(*file, 100, text.size()), text);
  EXPECT_EQ(content(*file, 105, 1000), text.substr(5)) << "short at the end of the file";
  EXPECT_EQ(content(*file, 0, 2), std::string(2, '\0'));
  EXPECT_EQ(content(*file, 5000, 10), "");
  EXPECT_EQ(file->info()->size_bytes, 100 + text.size());
}

TEST_F(PosixDiskTest, OpenModesAreKept) {
  EXPECT_EQ(disk_->open("f", OpenMode::kReadOnly).error().code(), Code::kNotFound);
  EXPECT_EQ(disk_->open("f", OpenMode::kReadWrite).error().code(), Code::kNotFound);
  ASSERT_TRUE((*disk_->open("f", OpenMode::kCreate))->write_at(bytes_of("x"), 0));
  EXPECT_EQ(disk_->open("f", OpenMode::kCreateNew).error().code(), Code::kExists);
  EXPECT_EQ(content(**disk_->open("f", OpenMode::kCreate), 0, 9), "x") << "not truncated";
  const auto reader = disk_->open("f", OpenMode::kReadOnly);
  ASSERT_TRUE(reader);
  EXPECT_EQ((*reader)->write_at(bytes_of("y"), 0).error().code(), static_cast<Code>(EBADF));
}

TEST_F(PosixDiskTest, RefusesPathsThatLeaveTheRoot) {
  const std::vector<std::string> bad = {
      "",      "/etc/passwd", "..", "../outside",          "a/../../outside",
      "a/./b", "a//b",        "a/", std::string("a\0b", 3)};
  for (const std::string& path : bad) {
    EXPECT_EQ(disk_->open(path, OpenMode::kReadOnly).error().code(), Code::kInvalid) << path;
    EXPECT_EQ(disk_->remove(path).error().code(), Code::kInvalid) << path;
    EXPECT_EQ(disk_->make_directory(path).error().code(), Code::kInvalid) << path;
    EXPECT_EQ(disk_->rename("a", path).error().code(), Code::kInvalid) << path;
    EXPECT_EQ(disk_->rename(path, "a").error().code(), Code::kInvalid) << path;
  }
  EXPECT_TRUE(disk_->open("a..b", OpenMode::kCreate)) << "dots within a name are harmless";
}

TEST_F(PosixDiskTest, DoesNotFollowPlantedLinks) {
  fs::create_symlink(base_, base_ / "root" / "up");
  fs::create_symlink("../outside", base_ / "root" / "file");
  EXPECT_FALSE(disk_->open("up/outside", OpenMode::kReadOnly));
  EXPECT_FALSE(disk_->open("file", OpenMode::kReadOnly));
  EXPECT_FALSE(disk_->list("up"));
  EXPECT_FALSE(disk_->remove("up/outside"));
  EXPECT_FALSE(disk_->rename("up/outside", "mine"));
  EXPECT_EQ(disk_->make_directory("up").error().code(), Code::kExists);
  EXPECT_TRUE(fs::exists(base_ / "outside"));
}

TEST_F(PosixDiskTest, ListsRenamesAndRemoves) {
  EXPECT_TRUE(disk_->list("")->empty());
  ASSERT_TRUE(disk_->make_directory("d"));
  ASSERT_TRUE(disk_->make_directory("d")) << "existing directories are no error";
  EXPECT_EQ(disk_->make_directory("no/parent").error().code(), Code::kNotFound);
  ASSERT_TRUE(create("a")->write_at(bytes_of("A"), 0));
  ASSERT_TRUE(create("d/b")->write_at(bytes_of("B"), 0));
  EXPECT_EQ(disk_->make_directory("a").error().code(), Code::kExists);
  EXPECT_THAT(*disk_->list(""), UnorderedElementsAre("a", "d"));
  ASSERT_TRUE(disk_->rename("a", "d/b")) << "replaces";
  ASSERT_TRUE(disk_->sync_directory("d"));
  ASSERT_TRUE(disk_->sync_directory(""));
  EXPECT_EQ(content(**disk_->open("d/b", OpenMode::kReadOnly), 0, 9), "A");
  EXPECT_THAT(*disk_->list(""), UnorderedElementsAre("d"));
  EXPECT_EQ(disk_->remove("d").error().code(), static_cast<Code>(ENOTEMPTY));
  ASSERT_TRUE(disk_->remove("d/b"));
  ASSERT_TRUE(disk_->remove("d"));
  EXPECT_EQ(disk_->remove("d").error().code(), Code::kNotFound);
  EXPECT_EQ(disk_->list("d").error().code(), Code::kNotFound);
  EXPECT_TRUE(disk_->sync_all());
}

TEST_F(PosixDiskTest, GivesSpaceBackWhenPunched) {
  const auto file = create("f");
  constexpr size_t kPages = 64;
  ASSERT_TRUE(file->truncate(kPages * kPage));
  const uint64_t sparse_bytes = file->info()->allocated_bytes;
  EXPECT_LT(sparse_bytes, kPages * kPage);
  const std::string page(kPage, 'x');
  for (size_t i = 0; i < kPages; ++i) ASSERT_TRUE(file->write_at(bytes_of(page), i * kPage));
  ASSERT_TRUE(file->sync_data());
  const FileInfo full = *file->info();
  EXPECT_GE(full.allocated_bytes, kPages * kPage);
  ASSERT_TRUE(file->punch(kPage, (kPages - 2) * kPage));
  ASSERT_TRUE(file->punch(0, 0));
  const FileInfo punched = *file->info();
  EXPECT_EQ(punched.size_bytes, kPages * kPage);
  EXPECT_LE(punched.allocated_bytes + (kPages - 2) * kPage, full.allocated_bytes);
  EXPECT_EQ(content(*file, 0, kPage), page);
  EXPECT_EQ(content(*file, kPage, kPage), std::string(kPage, '\0'));
  EXPECT_EQ(content(*file, (kPages - 1) * kPage, kPage), page);
}

TEST_F(PosixDiskTest, AllocateReservesAndExtends) {
  const auto file = create("f");
  ASSERT_TRUE(file->allocate(0, 16 * kPage));
  EXPECT_EQ(file->info()->size_bytes, 16 * kPage);
  EXPECT_GE(file->info()->allocated_bytes, 16 * kPage);
  EXPECT_EQ(file->allocate(1, UINT64_MAX).error().code(), Code::kInvalid);
  EXPECT_EQ(file->truncate(UINT64_MAX).error().code(), Code::kInvalid);
}

TEST_F(PosixDiskTest, MappingAndFileAreOneAnother) {
  const auto file = create("f");
  ASSERT_TRUE(file->allocate(0, 4 * kPage));
  const auto mapping = file->map(kPage, 2 * kPage);
  ASSERT_TRUE(mapping) << mapping.error().message();
  ASSERT_EQ((*mapping)->bytes().size(), 2 * kPage);
  (*mapping)->bytes()[5] = std::byte{'m'};
  EXPECT_EQ(content(*file, kPage + 5, 1), "m");
  ASSERT_TRUE(file->write_at(bytes_of("f"), kPage + 6));
  EXPECT_EQ((*mapping)->bytes()[6], std::byte{'f'});
  EXPECT_EQ(file->map(1, kPage).error().code(), Code::kInvalid);
  EXPECT_EQ(file->map(0, 0).error().code(), Code::kInvalid);
  EXPECT_EQ(file->map(kPage, 4 * kPage).error().code(), Code::kInvalid) << "beyond the end";
}

// By another opening, or a mapping that outlives it; its own mapping does not count.
TEST_F(PosixDiskTest, TellsWhetherAFileIsUsedElsewhere) {
  const auto file = create("f");
  ASSERT_TRUE(file->truncate(kPage));
  const auto is_used = [&] {
    const auto used = file->is_used_elsewhere();
    EXPECT_TRUE(used) << used.error().message();
    return used.value_or(false);
  };
  EXPECT_FALSE(is_used());
  const auto own = file->map(0, kPage);
  EXPECT_FALSE(is_used());
  for (const OpenMode mode : {OpenMode::kReadOnly, OpenMode::kReadWrite}) {
    auto other = disk_->open("f", mode);
    ASSERT_TRUE(other);
    EXPECT_TRUE(is_used());
    auto mapping = (*other)->map(0, kPage);
    other->reset();
    EXPECT_TRUE(is_used());
    mapping->reset();
    EXPECT_FALSE(is_used());
  }
  auto other = disk_->open("f", OpenMode::kReadOnly);
  ASSERT_TRUE(disk_->remove("f"));
  EXPECT_TRUE(is_used());
  other->reset();
  EXPECT_FALSE(is_used());
}

// Others may open it while it is asked: they neither fail nor is anybody killed.
TEST_F(PosixDiskTest, WhetherAFileIsUsedCanBeAskedAtAnyTime) {
  const auto file = create("f");
  std::atomic<bool> stop{false};
  std::jthread opener([&] {
    while (!stop) EXPECT_TRUE(disk_->open("f", OpenMode::kReadOnly));
  });
  int unused = 0;
  for (int i = 0; i < 20'000 || unused == 0; ++i) {
    const auto used = file->is_used_elsewhere();
    ASSERT_TRUE(used) << used.error().message();
    unused += *used ? 0 : 1;
  }
  stop = true;
}

TEST_F(PosixDiskTest, TellsTheSpace) {
  const auto space = disk_->space();
  ASSERT_TRUE(space);
  const fs::space_info reference = fs::space(base_);
  EXPECT_EQ(space->total_bytes, reference.capacity);
  EXPECT_LE(space->free_bytes, space->total_bytes);
  EXPECT_LE(space->free_inodes, space->total_inodes);
}

TEST_F(PosixDiskTest, LockKeepsASecondOwnerOut) {
  const std::string root = (base_ / "root").string();
  auto first = open_posix_disk_locked(root, "lock");
  ASSERT_TRUE(first) << first.error().message();
  // Another process: the result comes as its exit status.
  const auto locked_for_a_child = [&] {
    const pid_t child = ::fork();
    if (child == 0) {
      const auto second = open_posix_disk_locked(root, "lock");
      ::_exit(second ? 0 : second.error().is(Code::kLocked) ? 1 : 2);
    }
    int status = 0;
    EXPECT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFEXITED(status));
    return WEXITSTATUS(status);
  };
  EXPECT_EQ(locked_for_a_child(), 1);
  first->reset();
  EXPECT_EQ(locked_for_a_child(), 0);
  EXPECT_EQ(open_posix_disk((base_ / "absent").string()).error().code(), Code::kNotFound);
}

// A file that does everything in part.
class StingyFile final : public File {
 public:
  StingyFile() : File(-1) {}
  std::string data;

 private:
  Result<size_t> do_read(std::span<std::byte> into, uint64_t offset) override {
    if (offset >= data.size()) return size_t{0};
    const size_t n = std::min({into.size(), size_t{3}, data.size() - offset});
    std::ranges::copy(bytes_of(data).subspan(offset, n), into.begin());
    return n;
  }
  Result<size_t> do_write(std::span<const std::byte> from, uint64_t offset) override {
    if (offset >= 10) return fail(Code::kNoSpace);
    const size_t n = std::min(from.size(), size_t{2});
    data.resize(std::max(data.size(), offset + n));
    for (size_t i = 0; i < n; ++i) data[offset + i] = static_cast<char>(from[i]);
    return n;
  }
  Result<void> do_sync_data() override { return {}; }
  Result<void> do_truncate(uint64_t) override { return {}; }
  Result<void> do_allocate(uint64_t, uint64_t) override { return {}; }
  Result<void> do_punch(uint64_t, uint64_t) override { return {}; }
  Result<FileInfo> do_info() override { return FileInfo{.size_bytes = data.size()}; }
  Result<std::unique_ptr<Mapping>> do_map(uint64_t, size_t) override {
    return fail(Code::kNotSupported);
  }
};

TEST(File, FinishesShortOperations) {
  StingyFile file;
  ASSERT_TRUE(file.write_at(bytes_of("abcdefgh"), 0));
  EXPECT_EQ(file.data, "abcdefgh");
  std::string text(20, '?');
  EXPECT_EQ(file.read_at(std::as_writable_bytes(std::span(text)), 1), 7u);
  EXPECT_EQ(text.substr(0, 7), "bcdefgh");
  EXPECT_EQ(file.write_at(bytes_of("abcdefgh"), 6).error().code(), Code::kNoSpace);
}

}  // namespace
}  // namespace larder::io
