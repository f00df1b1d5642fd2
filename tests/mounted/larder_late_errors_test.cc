// What a source took and could not keep is shown no more once it has said so: at a sync, at a
// close, at the next write, at the sync of a mapping.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <functional>
#include <memory>
#include <numeric>
#include <string>
#include <thread>

#include "larder_fixture.h"
#include "support/source_directory.h"

namespace larder::testing_support {
namespace {

// The file is as long as three holes, and the one in the middle is one.
constexpr size_t kHole = 128 << 10;
constexpr size_t kSize = 3 * kHole;
const std::string kRefused(kHole, 'q');

int error_of(int result) {
  return result == -1 ? errno : 0;
}

void write_refused(int fd, size_t at) {
  ASSERT_EQ(pwrite(fd, kRefused.data(), kRefused.size(), static_cast<off_t>(at)),
            static_cast<ssize_t>(kRefused.size()))
      << strerror(errno);
}

// How a program comes to hear of it; the errno it gets.
struct Hearing {
  const char* name;
  std::function<int(int fd)> hear;
  const char* source_call;  // that fails
};

// Closing any descriptor of the file makes it known; the test looks through the other.
int error_of_close(int fd) {
  return error_of(close(dup(fd)));
}

// To where there is no room either.  The server need not have refused the one before already.
int error_of_next_write(int fd) {
  int error = 0;
  EXPECT_TRUE(LarderMount::eventually(
      [&] { return (error = error_of(static_cast<int>(pwrite(fd, "q", 1, kHole)))) != 0; }));
  return error;
}

const Hearing kHearings[] = {{"Fsync", [](int fd) { return error_of(fsync(fd)); }, "fsync"},
                             {"Fdatasync", [](int fd) { return error_of(fdatasync(fd)); }, "fsync"},
                             {"Close", error_of_close, "flush"},
                             {"NextWrite", error_of_next_write, "write"}};

size_t count_wrong(const std::string& data, const std::string& right) {
  const auto end = data.begin() + static_cast<ptrdiff_t>(std::min(data.size(), right.size()));
  return static_cast<size_t>(std::inner_product(data.begin(), end, right.begin(), 0, std::plus<>(),
                                                std::not_equal_to<>()));
}

void expect_content(const FileContent& got, const FileContent& right, const char* whose) {
  EXPECT_EQ(got.error, 0) << whose;
  EXPECT_EQ(got.data.size(), right.data.size()) << whose;
  EXPECT_EQ(count_wrong(got.data, right.data), 0U) << whose;
}

// A fresh open and the open one have what is behind the source.
void expect_same(const LarderMount& mount, const Descriptor& open, const std::string& behind) {
  const FileContent right = read_file(behind);
  expect_content(read_file(mount.at("file")), right, "a fresh open's");
  expect_content(read_at(open.get(), 0, 2 * kSize), right, "the open one's");
  EXPECT_EQ(std::filesystem::file_size(mount.at("file")), right.data.size());
}

void expect_same_after_a_remount(LarderMount& mount, const std::string& behind) {
  ASSERT_EQ(mount.stop(), 0);
  ASSERT_TRUE(mount.start()) << mount.problem();
  expect_same(mount, Descriptor(mount.at("file"), O_RDONLY), behind);
}

// sshfs writes behind itself, and its server's disk is full but for what the file has.
class OverAFullDisk : public testing::Test {
 protected:
  void SetUp() override {
    for (const std::string& why :
         {LarderMount::why_unavailable(), TmpfsDirectory::why_unavailable(),
          SshfsDirectory::why_unavailable()})
      if (!why.empty()) GTEST_SKIP() << why;
    disk_ = std::make_unique<TmpfsDirectory>("1M");
    ASSERT_TRUE(disk_->ready()) << disk_->problem();
    put_file_with_a_hole();
    ASSERT_EQ(write_file(real("rest"), std::string(1 << 20, 'r')), ENOSPC);
    source_ = std::make_unique<SshfsDirectory>(disk_->directory());
    ASSERT_TRUE(source_->ready()) << source_->problem();
    mount_ = std::make_unique<LarderMount>(source_->directory());
    ASSERT_TRUE(mount_->mounted()) << mount_->problem();
    EXPECT_EQ(read_file(mount_->at("file")), read_file(real("file")));
  }
  void TearDown() override {
    if (HasFailure() && mount_) fprintf(stderr, "larder said:\n%s\n", mount_->log().c_str());
    mount_.reset();
    source_.reset();
  }

  std::string real(const std::string& name) const { return disk_->directory() + "/" + name; }
  void put_file_with_a_hole() const {
    const std::string data = pattern(kHole, 1);
    ASSERT_EQ(write_file(real("file"), data), 0);
    const Descriptor file(real("file"), O_WRONLY);
    ASSERT_EQ(pwrite(file.get(), data.data(), kHole, 2 * kHole), static_cast<ssize_t>(kHole));
  }
  // Writes there and hears of it; by then the server has refused it.
  void expect_taken_back(size_t at, const std::function<int(int fd)>& hear) {
    {
      const Descriptor reader(mount_->at("file"), O_RDONLY), writer(mount_->at("file"), O_RDWR);
      write_refused(writer.get(), at);
      EXPECT_NE(hear(writer.get()), 0);
      expect_same(*mount_, reader, real("file"));
      expect_same(*mount_, writer, real("file"));
    }
    expect_same_after_a_remount(*mount_, real("file"));
  }

  std::unique_ptr<TmpfsDirectory> disk_;
  std::unique_ptr<SshfsDirectory> source_;
  std::unique_ptr<LarderMount> mount_;
};

class OfAFullDisk : public OverAFullDisk, public testing::WithParamInterface<Hearing> {};

TEST_P(OfAFullDisk, WhatWasWrittenIntoAHoleIsTakenBack) {
  expect_taken_back(kHole, GetParam().hear);
}

TEST_P(OfAFullDisk, WhatWasAppendedIsTakenBack) {
  expect_taken_back(kSize, GetParam().hear);
}

TEST_P(OfAFullDisk, OfWhatFitInPartThatPartStays) {
  const std::string rest = real("rest");
  std::filesystem::resize_file(rest, std::filesystem::file_size(rest) - kHole / 2);
  expect_taken_back(kSize, GetParam().hear);
}

INSTANTIATE_TEST_SUITE_P(Hearings, OfAFullDisk, testing::ValuesIn(kHearings),
                         [](const auto& tested) { return tested.param.name; });

// What a shared mapping of the file holds of the hole.
class MappedHole {
 public:
  explicit MappedHole(int fd)
      : at_(static_cast<char*>(
            mmap(nullptr, kHole, PROT_READ | PROT_WRITE, MAP_SHARED, fd, kHole))) {
    EXPECT_NE(at_, MAP_FAILED);
  }
  ~MappedHole() { munmap(at_, kHole); }
  MappedHole(const MappedHole&) = delete;
  MappedHole& operator=(const MappedHole&) = delete;
  void store() { memcpy(at_, kRefused.data(), kHole); }
  int error_of_sync() { return error_of(msync(at_, kHole, MS_SYNC)); }
  std::string data() const { return {at_, kHole}; }

 private:
  char* const at_;
};

TEST_F(OverAFullDisk, WhatWasStoredThroughAMappingIsTakenBack) {
  {
    const Descriptor reader(mount_->at("file"), O_RDONLY), writer(mount_->at("file"), O_RDWR);
    MappedHole mapped(writer.get());
    mapped.store();
    EXPECT_NE(mapped.error_of_sync(), 0);
    expect_same(*mount_, reader, real("file"));
    EXPECT_EQ(count_wrong(mapped.data(), std::string(kHole, '\0')), 0U);
  }
  expect_same_after_a_remount(*mount_, real("file"));
}

// A source that says so as it is told, and has lost what it had taken.
class OfAFaultySource : public LarderTest, public testing::WithParamInterface<Hearing> {
 protected:
  void lose(const std::string& before) const {
    const Descriptor file(real("file"), O_WRONLY);
    ASSERT_EQ(pwrite(file.get(), before.data() + kHole, kHole, kHole), static_cast<ssize_t>(kHole));
  }
};

TEST_P(OfAFaultySource, WhatItLostIsTakenBackAndItsErrorPassedOn) {
  // Nobody looks whether others have changed the file.
  ASSERT_TRUE(mount({"profile=private"}));
  const std::string data = pattern(kSize, 1);
  put_and_cache("file", data);
  {
    const Descriptor reader(at("file"), O_RDONLY), writer(at("file"), O_RDWR);
    write_refused(writer.get(), kHole);
    EXPECT_EQ(read_at(reader.get(), kHole, kHole).data, kRefused);
    lose(data);
    ASSERT_TRUE(source_->set("fail", std::string(GetParam().source_call) + ":EDQUOT"));
    EXPECT_EQ(GetParam().hear(writer.get()), EDQUOT);
    expect_same(*mount_, reader, real("file"));
    expect_same(*mount_, writer, real("file"));
  }
  expect_same_after_a_remount(*mount_, real("file"));
}

INSTANTIATE_TEST_SUITE_P(Hearings, OfAFaultySource, testing::ValuesIn(kHearings),
                         [](const auto& tested) { return tested.param.name; });

// Something that a program can have synced, and how.
struct Syncing {
  const char* name;
  int flags;  // of the open
  const char* request;
  std::function<int(int fd)> sync;
};

int error_of_msync(int fd) {
  char* const page =
      static_cast<char*>(mmap(nullptr, kHole, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
  EXPECT_NE(page, MAP_FAILED);
  page[0] = 'm';
  const int error = error_of(msync(page, kHole, MS_SYNC));
  munmap(page, kHole);
  return error;
}

int error_of_write(int fd) {
  return error_of(static_cast<int>(pwrite(fd, "w", 1, 0)));
}

const Syncing kSyncings[] = {
    {"Fsync", O_RDWR, "fsync", [](int fd) { return error_of(fsync(fd)); }},
    {"Fdatasync", O_RDWR, "fsync", [](int fd) { return error_of(fdatasync(fd)); }},
    {"ThroughAReader", O_RDONLY, "fsync", [](int fd) { return error_of(fsync(fd)); }},
    {"Msync", O_RDWR, "fsync", error_of_msync},
    {"SynchronousWrite", O_RDWR | O_SYNC, "fsync", error_of_write},
    {"OfADirectory", O_RDONLY | O_DIRECTORY, "fsyncdir",
     [](int fd) { return error_of(fsync(fd)); }}};

class ASync : public LarderTest, public testing::WithParamInterface<Syncing> {
 protected:
  void SetUp() override {
    LarderTest::SetUp();
    if (IsSkipped()) return;
    ASSERT_TRUE(mount());
    put_and_cache("file", pattern(kSize, 1));
    put("other", "x");
    const bool is_directory = (GetParam().flags & O_DIRECTORY) != 0;
    synced_ = std::make_unique<Descriptor>(at(is_directory ? "" : "file"), GetParam().flags);
    ASSERT_TRUE(synced_->valid()) << strerror(synced_->error());
    // So that there is something to be synced.
    writer_ = std::make_unique<Descriptor>(at("file"), O_RDWR);
    ASSERT_EQ(error_of_write(writer_->get()), 0);
  }
  void TearDown() override {
    synced_.reset();
    writer_.reset();
    LarderTest::TearDown();
  }
  int error_of_sync() const { return GetParam().sync(synced_->get()); }
  uint64_t syncs() const { return source_->requests(GetParam().request); }

  std::unique_ptr<Descriptor> synced_;
  std::unique_ptr<Descriptor> writer_;
};

TEST_P(ASync, IsTheSourcesEachTime) {
  for (uint64_t i = 1; i <= 3; ++i) {
    const uint64_t before = syncs();
    EXPECT_EQ(error_of_sync(), 0);
    EXPECT_EQ(syncs(), before + 1) << i;
  }
}

TEST_P(ASync, ReturnsWhenTheSourcesHas) {
  std::atomic<bool> has_returned{false};
  ASSERT_TRUE(source_->set("hang", "1"));
  std::thread program([&] {
    EXPECT_EQ(error_of_sync(), 0);
    has_returned.store(true);
  });
  // What it writes first hangs at the source, too.
  EXPECT_TRUE(source_->wait_hung(1));
  constexpr std::chrono::milliseconds kNeverNeeded(100);
  std::this_thread::sleep_for(kNeverNeeded);  // by whoever does not wait for the source
  EXPECT_FALSE(has_returned.load());
  ASSERT_TRUE(source_->set("hang", "0"));
  program.join();
}

TEST_P(ASync, GivesTheSourcesErrorOnce) {
  for (const char* const error : {"EIO", "ENOSPC", "EDQUOT"}) {
    ASSERT_TRUE(source_->set("fail", std::string(GetParam().request) + ":" + error));
    EXPECT_STREQ(strerrorname_np(error_of_sync()), error);
    EXPECT_EQ(error_of_sync(), 0) << error;
  }
}

INSTANTIATE_TEST_SUITE_P(Ways, ASync, testing::ValuesIn(kSyncings),
                         [](const auto& tested) { return tested.param.name; });

}  // namespace
}  // namespace larder::testing_support
