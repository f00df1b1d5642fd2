// What the keys come to on a disk.
#include "app/cache_limits.h"

#include <gtest/gtest.h>

#include "app/keys.h"

namespace larder::app {
namespace {

constexpr uint64_t kGiB = 1 << 30;
constexpr io::SpaceInfo kDisk{.total_bytes = 100 * kGiB,
                              .free_bytes = 50 * kGiB,
                              .total_inodes = 1'000'000,
                              .free_inodes = 1};

cache::Limits limits(std::string_view options, const io::SpaceInfo& disk) {
  return limits_of(*make_config(*parse_options(options)), disk);
}

TEST(Limits, SharesAreOfTheWholeDisk) {
  const cache::Limits found = limits("size=10%,inodes=5%,min_free=2%", kDisk);
  EXPECT_EQ(found.size_bytes, kDisk.total_bytes / 100 * 10);
  EXPECT_EQ(found.objects, 50'000U);
  EXPECT_EQ(found.min_free_bytes, kDisk.total_bytes / 100 * 2);
}

TEST(Limits, NumbersAreTakenAsTheyAre) {
  const cache::Limits found = limits("size=1T,inodes=5000,min_free=1G", kDisk);
  EXPECT_EQ(found.size_bytes, 1024 * kGiB);
  EXPECT_EQ(found.objects, 5000U);
  EXPECT_EQ(found.min_free_bytes, kGiB);
}

// btrfs and ZFS.
TEST(Limits, WhereInodesAreNotCountedAShareOfThemIsNoLimit) {
  io::SpaceInfo disk = kDisk;
  disk.total_inodes = disk.free_inodes = 0;
  EXPECT_EQ(limits("", disk).objects, UINT64_MAX);
  EXPECT_EQ(limits("inodes=50%", disk).objects, UINT64_MAX);
  EXPECT_EQ(limits("inodes=5000", disk).objects, 5000U) << "who names a number gets it";
}

TEST(Limits, JournalFilesAreSmallInSmallCaches) {
  EXPECT_EQ(segment_bytes_of(0), 1U << 20);
  EXPECT_EQ(segment_bytes_of(100 << 20), 4U << 20);
  EXPECT_EQ(segment_bytes_of(1024 * kGiB), 16U << 20);
}

}  // namespace
}  // namespace larder::app
