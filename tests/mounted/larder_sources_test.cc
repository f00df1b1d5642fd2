// What holds over each kind of source: the local disk, one whose inode numbers are not stable, and
// sshfs, whose server others change.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <filesystem>
#include <utility>

#include "sources_fixture.h"

namespace larder::testing_support {
namespace {

using namespace std::chrono_literals;

TEST_P(OverSources, AFileThatWasReplacedIsNewAtTheNextOpen) {
  const std::string old_data = pattern(300'000, 1), new_data = pattern(300'001, 2);
  put("file", old_data);
  ASSERT_TRUE(mount());
  EXPECT_EQ(read_file(at("file")), (FileContent{0, old_data}));
  replace("file", new_data);
  outlive_attr_ttl();
  EXPECT_EQ(read_file(at("file")), (FileContent{0, new_data}));
}

TEST_P(OverSources, AFileThatGrewOrShrankIsWholeAtTheNextOpen) {
  std::string data = pattern(10'000, 1);
  put("file", data);
  ASSERT_TRUE(mount());
  EXPECT_EQ(read_file(at("file")), (FileContent{0, data}));
  data += "more";
  grow("file", "more");
  outlive_attr_ttl();
  EXPECT_EQ(read_file(at("file")), (FileContent{0, data}));
  data.resize(100);
  shrink("file", 100);
  outlive_attr_ttl();
  EXPECT_EQ(read_file(at("file")), (FileContent{0, data}));
  EXPECT_EQ(std::filesystem::file_size(at("file")), 100U);
}

TEST_P(OverSources, WhatIsWrittenOnTheMountIsBehindTheSource) {
  ASSERT_TRUE(mount());
  const std::string data = pattern(200'000, 3);
  ASSERT_EQ(write_file(at("file"), data), 0);
  EXPECT_EQ(read_file(real("file")), (FileContent{0, data}));
}

// Dates that 64 bits of nanoseconds do not hold, and before 1970.
TEST_P(OverSources, DatesAreThoseOfTheSource) {
  std::vector<time_t> dates = {-1, 1'000'000'000, 10'413'792'000};  // 2300
  if (GetParam() == SourceKind::kTmpfs)                             // 1600, the year 10000
    dates.insert(dates.end(), {-11'676'096'000, 253'402'300'800});
  if (GetParam() == SourceKind::kSshfs) dates = {1, 4'000'000'000};  // 32 bits in its protocol
  const auto set = [](const std::string& path, time_t date) {
    const timespec time{.tv_sec = date, .tv_nsec = 999'999'999};
    const timespec times[2] = {time, time};
    ASSERT_EQ(utimensat(AT_FDCWD, path.c_str(), times, 0), 0) << strerror(errno);
  };
  const auto mtime = [](const std::string& path) {
    struct stat found{};
    EXPECT_EQ(stat(path.c_str(), &found), 0) << strerror(errno);
    return std::pair(found.st_mtim.tv_sec, found.st_mtim.tv_nsec);
  };
  for (size_t i = 0; i < dates.size(); ++i) {
    put(fmt::format("outside{}", i), "x");
    set(real(fmt::format("outside{}", i)), dates[i]);
  }
  ASSERT_TRUE(mount({"attr_ttl=1h"}));
  for (size_t i = 0; i < dates.size(); ++i) {
    ASSERT_EQ(write_file(at(fmt::format("here{}", i)), "x"), 0);
    set(at(fmt::format("here{}", i)), dates[i]);
  }
  for (int run = 0; run < 2; ++run) {
    for (size_t i = 0; i < dates.size(); ++i) {
      for (const char* who : {"outside", "here"}) {
        const std::string name = fmt::format("{}{}", who, i);
        EXPECT_EQ(mtime(at(name)), mtime(at_source(name))) << name;
        EXPECT_EQ(mtime(at(name)).first, dates[i]) << name;
      }
    }
    EXPECT_EQ(mount_->stop(), 0);
    ASSERT_TRUE(mount_->start()) << mount_->problem();
  }
}

// sshfs shows whole seconds.  What was fetched so shortly after a change is dropped the next time
// that the file is looked at.
TEST_P(OverSources, AChangeWithinTheSameSecondIsThereAtTheNextOpen) {
  put("file", "old");
  ASSERT_TRUE(mount({"attr_ttl=10ms"}));
  for (const char* const text : {"one", "two", "six"}) {
    const auto into_second = [] {
      return std::chrono::system_clock::now().time_since_epoch() % 1s;
    };
    // File systems' clocks lag behind by a tick.
    ASSERT_TRUE(in_time([&] { return into_second() > 50ms && into_second() < 150ms; }));
    put("file", "old");
    EXPECT_EQ(read_file(at("file")), (FileContent{0, "old"}));
    replace("file", text);
    std::this_thread::sleep_for(100ms);  // several times attr_ttl
    EXPECT_EQ(read_file(at("file")), (FileContent{0, text}));
  }
}

// A file that is nearly all hole, and a small one, which cost the same.
class SparseFile : public testing::TestWithParam<std::tuple<int, bool>> {
 protected:
  static constexpr size_t kPart = 4096;

  void SetUp() override {
    for (const std::string& why :
         {LarderMount::why_unavailable(), TmpfsDirectory::why_unavailable()})
      if (!why.empty()) GTEST_SKIP() << why;
    for (const TmpfsDirectory* directory : {&source_, &cache_})
      ASSERT_TRUE(directory->ready()) << directory->problem();
    for (const auto& [name, place] : {std::pair{"huge", part_of_huge()}, {"small", off_t{0}}}) {
      const Descriptor file(source_.directory() + "/" + name, O_WRONLY | O_CREAT);
      ASSERT_EQ(pwrite(file.get(), part_.data(), kPart, place), static_cast<ssize_t>(kPart));
      ASSERT_EQ(ftruncate(file.get(), place == 0 ? off_t{kPart} : 2 * place), 0);
    }
    // Nobody looks at the files in between, or fetches ahead.
    std::vector<std::string> options = {"attr_ttl=1h", "readahead=0"};
    if (std::get<bool>(GetParam())) options.push_back("cache_dir=" + cache_.directory());
    mount_ = std::make_unique<LarderMount>(source_.directory(), options);
    ASSERT_TRUE(mount_->mounted()) << mount_->problem();
  }
  // Half of its size before it, half behind.
  static off_t part_of_huge() { return off_t{1} << (std::get<int>(GetParam()) - 1); }

  struct Cost {
    int64_t source_calls = 0;
    int64_t source_bytes = 0;
    int64_t disk_operations = 0;
    int64_t journal_bytes = 0;
  };
  Cost cost_so_far() const {
    return {mount_->metric("/source/calls"), mount_->metric("/read/bytes/source"),
            mount_->metric("/io/operations"), mount_->metric("/journal/bytes")};
  }
  // Of the first look at it, opening it and reading its part.
  Cost cost_of_reading(const std::string& name, off_t place) const {
    const Cost before = cost_so_far();
    EXPECT_EQ(read_at(Descriptor(mount_->at(name), O_RDONLY).get(), place, kPart).data, part_);
    EXPECT_TRUE(LarderMount::eventually([&] {
      return mount_->metric("/fetches/in_flight") == 0 &&
             mount_->metric("/io/in_flight_operations") == 0;
    }));
    const Cost after = cost_so_far();
    return {after.source_calls - before.source_calls, after.source_bytes - before.source_bytes,
            after.disk_operations - before.disk_operations,
            after.journal_bytes - before.journal_bytes};
  }
  void expect_costs_of_the_small_one() const {
    // A block lies across pages of several records, and a fetch may be two calls.
    constexpr int64_t kMoreCalls = 4, kMoreBytes = 64 << 10;
    const Cost huge = cost_of_reading("huge", part_of_huge()), small = cost_of_reading("small", 0);
    EXPECT_LE(huge.source_calls, small.source_calls + kMoreCalls);
    EXPECT_LE(huge.source_bytes, small.source_bytes + kMoreBytes);
    EXPECT_LE(huge.disk_operations, small.disk_operations + kMoreCalls);
    EXPECT_LE(huge.journal_bytes, small.journal_bytes + kMoreBytes);
    // Nor what comes after it.
    EXPECT_LE(cost_of_reading("small", 0).source_calls, 1);
  }

  const std::string part_ = pattern(kPart, 1);
  TmpfsDirectory source_, cache_;
  std::unique_ptr<LarderMount> mount_;
};

TEST_P(SparseFile, CostsWhatASmallOneDoes) {
  expect_costs_of_the_small_one();
  for (int run = 0; run < 2; ++run) {
    ASSERT_EQ(mount_->stop(), 0);
    ASSERT_TRUE(mount_->start()) << mount_->problem();
    expect_costs_of_the_small_one();
  }
}

INSTANTIATE_TEST_SUITE_P(Sizes, SparseFile,
                         testing::Combine(testing::Values(43, 62), testing::Bool()),
                         [](const auto& tested) {
                           return fmt::format(
                               "{}Bits{}", std::get<int>(tested.param),
                               std::get<bool>(tested.param) ? "CachedOnTmpfs" : "CachedOnDisk");
                         });

INSTANTIATE_TEST_SUITE_P(Sources, OverSources, all_sources(), source_name);

}  // namespace
}  // namespace larder::testing_support
