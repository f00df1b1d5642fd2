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

INSTANTIATE_TEST_SUITE_P(Sources, OverSources, all_sources(), source_name);

}  // namespace
}  // namespace larder::testing_support
