#include "support/sim_disk.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

namespace larder::testing {
namespace {

std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text));
}

std::unique_ptr<io::File> open(SimDisk& disk, const std::string& path,
                               io::OpenMode mode = io::OpenMode::kCreate) {
  auto file = disk.open(path, mode);
  EXPECT_TRUE(file) << file.error().message();
  return std::move(*file);
}

TEST(SimDisk, SyncedStaysUnsyncedMayGo) {
  std::set<std::string> outcomes;
  for (uint64_t seed = 0; seed < 100; ++seed) {
    SimDisk disk;
    const auto file = open(disk, "f");
    ASSERT_TRUE(disk.sync_directory(""));
    ASSERT_TRUE(file->write_at(bytes_of(std::string(1024, 'a')), 0));
    ASSERT_TRUE(file->sync_data());
    ASSERT_TRUE(file->write_at(bytes_of(std::string(1024, 'b')), 0));
    disk.power_loss(seed);
    const std::string content = disk.content("f");
    ASSERT_EQ(content.size(), 1024u);
    outcomes.insert({content[0], content[512]});
    EXPECT_EQ(file->info().error().code(), Code::kCancelled);
  }
  // Each sector for itself.
  EXPECT_EQ(outcomes, (std::set<std::string>{"aa", "ab", "ba", "bb"}));
}

TEST(SimDisk, RenameIsOldOrNew) {
  std::set<std::string> outcomes;
  for (uint64_t seed = 0; seed < 50; ++seed) {
    SimDisk disk;
    disk.put("a", "new");
    disk.put("b", "old");
    ASSERT_TRUE(disk.rename("a", "b"));
    disk.power_loss(seed);
    const auto paths = disk.paths();
    ASSERT_TRUE(std::ranges::find(paths, "b") != paths.end());
    EXPECT_EQ(paths.size(), disk.content("b") == "old" ? 2u : 1u);
    outcomes.insert(disk.content("b"));
  }
  EXPECT_EQ(outcomes, (std::set<std::string>{"old", "new"}));
}

TEST(SimDisk, DirectoriesTakeEachOthersNamesWhole) {
  for (const bool is_exchange : {true, false}) {
    std::set<std::string> outcomes;
    for (uint64_t seed = 0; seed < 20; ++seed) {
      SimDisk disk;
      ASSERT_TRUE(disk.make_directory("a"));
      disk.put("a/f", "of a");
      if (is_exchange) {
        ASSERT_TRUE(disk.make_directory("a.new"));
        disk.put("a.new/f", "of new");
      }
      ASSERT_TRUE(disk.sync_directory(""));
      ASSERT_TRUE(is_exchange ? disk.exchange("a.new", "a") : disk.rename("a", "a.new"));
      EXPECT_EQ(disk.content("a.new/f"), "of a");
      EXPECT_EQ(disk.list("a").has_value(), is_exchange);
      disk.power_loss(seed);
      std::string all;
      for (const std::string& path : disk.paths())
        all += path + (path.ends_with("f") ? "=" + disk.content(path) + " " : " ");
      outcomes.insert(all);
    }
    if (is_exchange)
      EXPECT_EQ(outcomes, (std::set<std::string>{"a a.new a.new/f=of new a/f=of a ",
                                                 "a a.new a.new/f=of a a/f=of new "}));
    else
      EXPECT_EQ(outcomes, (std::set<std::string>{"a a/f=of a ", "a.new a.new/f=of a "}));
  }
}

TEST(SimDisk, OnlyAnEmptyDirectoryIsRemoved) {
  SimDisk disk;
  ASSERT_TRUE(disk.make_directory("d"));
  open(disk, "d/f");
  EXPECT_FALSE(disk.remove("d"));
  ASSERT_TRUE(disk.remove("d/f"));
  ASSERT_TRUE(disk.remove("d"));
  EXPECT_FALSE(disk.list("d"));
}

TEST(SimDisk, MappedStoresSurviveTheProcessAndAreSyncedWithTheFile) {
  SimDisk disk;
  ASSERT_TRUE(disk.make_directory("d"));
  auto file = open(disk, "d/f");
  ASSERT_TRUE(file->allocate(0, 4096));
  ASSERT_TRUE(file->sync_data());
  ASSERT_TRUE(disk.sync_directory("d"));
  ASSERT_TRUE(disk.sync_directory(""));
  const auto mapping = *file->map(0, 4096);
  mapping->bytes()[0] = std::byte{'x'};
  ASSERT_TRUE(file->sync_data());
  mapping->bytes()[1] = std::byte{'y'};
  disk.process_death();
  EXPECT_EQ(disk.content("d/f").substr(0, 2), "xy");
  mapping->bytes()[0] = std::byte{'z'};  // a dead process's store goes nowhere
  bool was_lost = false;
  for (uint64_t seed = 0; seed < 50 && !was_lost; ++seed) {
    const auto after = disk.content("d/f");
    disk.power_loss(seed);
    EXPECT_EQ(disk.content("d/f")[0], 'x');
    was_lost = disk.content("d/f")[1] == '\0';
    if (!was_lost) break;
  }
}

TEST(SimDisk, FailedSyncDropsWhatWasDirty) {
  SimDisk disk;
  disk.put("f", "old");
  const auto file = open(disk, "f");
  ASSERT_TRUE(file->write_at(bytes_of("new"), 0));
  disk.inject({.operation = SimOperation::kSync});
  EXPECT_EQ(file->sync_data().error().code(), Code::kIo);
  EXPECT_TRUE(file->sync_data());
  EXPECT_EQ(disk.content("f"), "new");
  disk.power_loss(1);
  EXPECT_EQ(disk.content("f"), "old");
}

TEST(SimDisk, CrashAtAStepStopsEverythingUntilReopened) {
  SimDisk disk;
  disk.put("f", std::string(4, '-'));
  const auto file = open(disk, "f");
  disk.crash_at_step(2);
  EXPECT_TRUE(file->write_at(bytes_of("a"), 0));
  EXPECT_EQ(file->write_at(bytes_of("bbbb"), 0).error().code(), Code::kCancelled);
  EXPECT_TRUE(disk.is_crashed());
  EXPECT_EQ(file->sync_data().error().code(), Code::kCancelled);
  EXPECT_EQ(disk.open("f", io::OpenMode::kReadOnly).error().code(), Code::kCancelled);
  disk.process_death();
  EXPECT_EQ(disk.content("f"), "bb--");
  EXPECT_TRUE(disk.open("f", io::OpenMode::kReadOnly));
}

TEST(SimDisk, CapacityCountsAllocatedPages) {
  SimDisk disk;
  disk.set_capacity_bytes(8192);
  const auto file = open(disk, "f");
  EXPECT_TRUE(file->allocate(0, 8192));
  EXPECT_EQ(file->allocate(8192, 1).error().code(), Code::kNoSpace);
  EXPECT_EQ(disk.space()->free_bytes, 0u);
  EXPECT_TRUE(file->punch(0, 4096));
  EXPECT_EQ(disk.space()->free_bytes, 4096u);
  EXPECT_EQ(file->info()->size_bytes, 8192u);
  EXPECT_TRUE(disk.remove("f"));
  EXPECT_EQ(disk.space()->free_bytes, 8192u);
}

TEST(SimDisk, ATruncatedFileTakesThePagesUpToItsEnd) {
  SimDisk disk;
  const auto file = open(disk, "f");
  ASSERT_TRUE(file->write_at(bytes_of(std::string(9733, 'a')), 0));
  EXPECT_EQ(file->info()->allocated_bytes, 12288u);
  const std::pair<uint64_t, uint64_t> sizes_and_allocated[] = {
      {8193, 12288}, {8192, 8192}, {401, 4096}, {0, 0}};
  for (const auto& [size_bytes, allocated_bytes] : sizes_and_allocated) {
    ASSERT_TRUE(file->truncate(size_bytes));
    EXPECT_EQ(file->info()->allocated_bytes, allocated_bytes) << size_bytes;
  }
}

TEST(SimDisk, APunchedRangeGivesItsWholePagesBack) {
  SimDisk disk;
  const auto file = open(disk, "f");
  ASSERT_TRUE(file->write_at(bytes_of(std::string(9733, 'a')), 0));
  ASSERT_TRUE(file->punch(4096, 9733 - 4096));
  EXPECT_EQ(file->info()->allocated_bytes, 8192u);
  ASSERT_TRUE(file->punch(4096, 8192));
  EXPECT_EQ(file->info()->allocated_bytes, 4096u);
  EXPECT_EQ(file->info()->size_bytes, 9733u);
}

TEST(SimDisk, ShortIoIsFinishedByTheInterface) {
  SimDisk disk;
  disk.set_short_io(1);
  const auto file = open(disk, "f");
  std::string text;
  for (int i = 0; i < 1000; ++i) text += std::to_string(i);
  ASSERT_TRUE(file->write_at(bytes_of(text), 0));
  std::string back(text.size() + 10, '\0');
  EXPECT_EQ(*file->read_at(std::as_writable_bytes(std::span(back)), 0), text.size());
  EXPECT_EQ(back.substr(0, text.size()), text);
}

}  // namespace
}  // namespace larder::testing
