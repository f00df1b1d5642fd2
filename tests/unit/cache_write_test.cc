// CachedFile: changes made through this mount (write-through), against a model.
#include <fmt/format.h>

#include "base/random.h"
#include "cache_fixture.h"

namespace larder::cache {
namespace {

using testing::random_text;

constexpr uint64_t kDiskBlock = 4096;

class CachedFileWriteTest : public CachedFileTest {
 protected:
  // What the cache serves, block by block, without the source: right or not at all.  Returns how
  // many blocks it has.
  uint64_t expect_cached_is_right() {
    source_.set_down(Code::kSourceDown);
    const std::string content = source_.content("file");
    EXPECT_EQ(file().size_bytes(), content.size());
    uint64_t present = 0;
    for (uint64_t at = 0; at < content.size(); at += kBlock) {
      const auto text = try_read(at, kBlock);
      if (!text) continue;
      ++present;
      EXPECT_TRUE(*text == content.substr(at, kBlock)) << "block " << at / kBlock;
    }
    source_.set_down(std::nullopt);
    return present;
  }

  // What all objects take of the disk.
  uint64_t object_bytes() {
    uint64_t bytes = 0;
    for (const std::string& path : disk_.paths()) {
      if (!path.starts_with("objects/")) continue;
      const auto file = disk_.open(path, io::OpenMode::kReadOnly);
      if (file) bytes += (*file)->info()->allocated_bytes;
    }
    return bytes;
  }

  // The janitor's task: what nobody knows any more after a restart.
  void remove_orphans() {
    catalog::NodeRecord record;
    file().describe(record);
    const std::string name = fmt::format("/{:016x}", record.object.value);
    for (const std::string& path : disk_.paths())
      if (path.starts_with("objects/") && path.size() > 16 && !path.ends_with(name))
        disk_.erase(path);
  }
};

// Where a file system could leave holes in blocks that are present: it must not, as what is written
// into them later would take room nobody asked for.
TEST_F(CachedFileWriteTest, AHoleInAPresentBlockTakesRoomToo) {
  make("", {.block_shift = 14});
  ASSERT_TRUE(write("behind the old end", 9000));
  EXPECT_EQ(object_bytes(), 3 * kDiskBlock);
  ASSERT_TRUE(write("and in the block after the next", 3 * 16384 + 5000));
  EXPECT_EQ(object_bytes(), (4 + 2) * kDiskBlock);  // the rest of the first, and to the end
  run(file().begin_change(0, 8192));
  source_.overwrite("file", 0, std::string(8192, '\0'));
  file().end_zeros(0, 8192, std::nullopt);
  EXPECT_EQ(object_bytes(), (4 + 2) * kDiskBlock);
  EXPECT_EQ(stack_->residents->used_bytes(), object_bytes());
  EXPECT_FALSE(owner_->observe());
  stack_->claim();
  EXPECT_EQ(stack_->residents->used_bytes(), object_bytes());
  ASSERT_TRUE(write(random_text(1, 9000), 0));
  EXPECT_EQ(stack_->residents->used_bytes(), object_bytes());
  EXPECT_EQ(expect_cached_is_right(), 6U);
}

TEST_F(CachedFileWriteTest, AWriteGoesToTheSourceAndToWhatIsCached) {
  make(random_text(1, 4 * kBlock));
  fill();
  EXPECT_EQ(*write("written across a border", 2 * kBlock - 7), 2 * kBlock - 7);
  EXPECT_EQ(source_.content("file").substr(2 * kBlock - 7, 23), "written across a border");
  EXPECT_EQ(expect_cached_is_right(), 4U);
}

TEST_F(CachedFileWriteTest, AWriteThatCoversABlockMakesItPresent) {
  make(random_text(1, 4 * kBlock));
  ASSERT_TRUE(write(random_text(2, 2 * kBlock), kBlock));
  EXPECT_EQ(expect_cached_is_right(), 2U);
  EXPECT_EQ(reads(), 0U);
}

TEST_F(CachedFileWriteTest, AWriteToAPartOfAnAbsentBlockLeavesItAbsent) {
  make(random_text(1, 4 * kBlock));
  ASSERT_TRUE(write(random_text(2, kBlock), kBlock + 1));
  EXPECT_EQ(expect_cached_is_right(), 0U);
  EXPECT_EQ(read_all(), source_.content("file"));
}

TEST_F(CachedFileWriteTest, AWriteToTheEndCoversTheLastBlock) {
  make(random_text(1, kBlock + 100));
  ASSERT_TRUE(write(random_text(2, 200), kBlock));
  EXPECT_EQ(expect_cached_is_right(), 1U);
}

TEST_F(CachedFileWriteTest, AFileWrittenFromStartToEndIsResident) {
  make("");
  const std::string content = random_text(1, 5 * kBlock + 10);
  for (size_t at = 0; at < content.size(); at += 1000)
    ASSERT_TRUE(write(content.substr(at, 1000), at));
  EXPECT_TRUE(file().resident());
  EXPECT_EQ(expect_cached_is_right(), 6U);
  EXPECT_FALSE(owner_->observe());
  stack_->claim();
  kill_and_restart();
  EXPECT_FALSE(owner_->observe());
  EXPECT_EQ(expect_cached_is_right(), 6U);
}

TEST_F(CachedFileWriteTest, WritingBeyondTheEndLeavesZerosBetween) {
  make(random_text(1, kBlock + 10));
  fill();
  ASSERT_TRUE(write("far", 5 * kBlock));
  EXPECT_EQ(file().size_bytes(), 5 * kBlock + 3);
  EXPECT_EQ(expect_cached_is_right(), 3U);  // the old two, and the new end
  EXPECT_EQ(read_all(), source_.content("file"));
}

TEST_F(CachedFileWriteTest, AnAppendGoesWhereTheSourcePutsIt) {
  make(random_text(1, kBlock));
  fill();
  EXPECT_EQ(*write("mine", 0, true), kBlock);
  source_.overwrite("file", kBlock + 4, "another's");
  EXPECT_EQ(*write("mine again", 0, true), kBlock + 13);
  EXPECT_EQ(source_.content("file").substr(kBlock), "mineanother'smine again");
  EXPECT_EQ(read_all(), source_.content("file"));
}

TEST_F(CachedFileWriteTest, AWriteTheSourceRefusesChangesNothing) {
  make(random_text(1, 2 * kBlock));
  fill();
  source_.fail_next(CallKind::kWrite, Code::kNoSpace);
  const auto written = write("never", 10);
  ASSERT_FALSE(written);
  EXPECT_TRUE(written.error().is(Code::kNoSpace));
  expect_cached_is_right();
  EXPECT_EQ(read_all(), source_.content("file"));
}

TEST_F(CachedFileWriteTest, AWriteThatFailsAfterItWasCarriedOutIsSeen) {
  make(random_text(1, 2 * kBlock));
  fill();
  source_.fail_after_next(CallKind::kWrite, Code::kTimedOut);
  EXPECT_FALSE(write("arrived all the same", 10));
  expect_cached_is_right();
  EXPECT_EQ(read_all(), source_.content("file"));
}

TEST_F(CachedFileWriteTest, AFetchThatAChangeOvertakesIsNotStored) {
  make(random_text(1, 2 * kBlock));
  auto hold = source_.hold(CallKind::kRead, Stage::kAfter);
  auto reader = start_read(0, kBlock);
  hold->wait_for_calls(1);
  const auto open = open_source(O_RDWR);
  auto writer = testing::start_on(
      stack_->reactor(),
      file().write(open, testing::buffer_of(stack_->pool, "new"), 0, CachedFile::Place::kOffset));
  run(read_task(owner_, 0, 0));
  hold->release();
  EXPECT_TRUE(reader.get());
  ASSERT_TRUE(writer.get());
  stack_->settle();
  EXPECT_EQ(read_all(), source_.content("file"));
  stack_->settle();
  EXPECT_EQ(expect_cached_is_right(), 2U);
}

TEST_F(CachedFileWriteTest, AWriteTheDiskRefusesIsOnTheSource) {
  make(random_text(1, 2 * kBlock));
  fill();
  disk_.inject({.operation = testing::SimOperation::kWrite, .path_part = "objects/"});
  ASSERT_TRUE(write("only on the source", 10));
  EXPECT_EQ(store_errors(), 1);
  EXPECT_TRUE(file().empty());
  EXPECT_EQ(read_all(), source_.content("file"));
}

TEST_F(CachedFileWriteTest, AWriteWithoutRoomIsOnTheSource) {
  make(random_text(1, kBlock), {.limit_bytes = kBlock});
  fill();
  ASSERT_TRUE(write(random_text(2, 3 * kBlock), kBlock));
  EXPECT_LE(stack_->residents->used_bytes(), stack_->residents->limit_bytes());
  EXPECT_EQ(expect_cached_is_right(), 1U);
  EXPECT_EQ(read_all(), source_.content("file"));
}

// Readers in passthrough see the object, so what is written must be in it, with room or without.
TEST_F(CachedFileWriteTest, WhatGrowsUnderAReaderInPassthroughIsCountedAtOnce) {
  make(random_text(1, 2 * kBlock), {.limit_bytes = 2 * kBlock});
  fill();
  {
    const auto pin = file().pin();
    ASSERT_TRUE(pin);
    ASSERT_TRUE(write(random_text(2, 3 * kBlock), 2 * kBlock));
    EXPECT_EQ(disk_.content(object::Objects::path(file().object())), source_.content("file"));
    EXPECT_EQ(object_bytes(), 5 * kBlock);
    EXPECT_EQ(stack_->residents->used_bytes(), 5 * kBlock);
    file().unpin(pin->generation);
  }
  EXPECT_TRUE(file().evict());
  EXPECT_EQ(stack_->residents->used_bytes(), 0U);
}

// Every pair of sizes around the borders of blocks.
TEST_F(CachedFileWriteTest, TruncationKeepsWhatStays) {
  const std::vector<uint64_t> sizes{0,          1,          kBlock - 1,    kBlock,
                                    kBlock + 1, 2 * kBlock, 3 * kBlock + 5};
  for (const uint64_t from : sizes)
    for (const uint64_t to : sizes) {
      SCOPED_TRACE(std::to_string(from) + " to " + std::to_string(to));
      make(random_text(from + 1, from));
      fill();
      truncate(to);
      EXPECT_EQ(file().size_bytes(), to);
      const uint64_t present = expect_cached_is_right();
      EXPECT_GE(present, std::min(from, to) / kBlock);
      EXPECT_EQ(read_all(), source_.content("file"));
      stack_->settle();
      EXPECT_EQ(stack_->residents->used_bytes(), (to + kBlock - 1) / kBlock * kBlock);
      EXPECT_FALSE(owner_->observe());
      file().drop();
      owner_.reset();
    }
}

TEST_F(CachedFileWriteTest, ATruncatedFileThatGrowsAgainHasNoOldBytes) {
  make(random_text(1, 10 * kBlock));
  fill();
  EXPECT_FALSE(owner_->observe());
  stack_->claim();
  truncate(10);
  truncate(10 * kBlock);
  EXPECT_FALSE(owner_->observe());
  EXPECT_EQ(read_all(), source_.content("file"));
  stack_->settle();
  stack_->claim();
  kill_and_restart();
  EXPECT_FALSE(owner_->observe());
  EXPECT_EQ(expect_cached_is_right(), 10U);
}

TEST_F(CachedFileWriteTest, AChangeMadeElsewhereThroughThisMountIsForgotten) {
  make(random_text(1, 4 * kBlock));
  fill();
  run(file().begin_change(kBlock, kBlock));
  source_.overwrite("file", kBlock, std::string(kBlock, '\0'));  // a punched hole
  file().end_change(kBlock, kBlock, std::nullopt);
  EXPECT_EQ(expect_cached_is_right(), 3U);
  EXPECT_EQ(stack_->residents->used_bytes(), 4 * kBlock);  // its bytes are still in the object
}

// Random changes, reads, claims, evictions and restarts, against the bytes.
TEST_F(CachedFileWriteTest, RandomChangesLeaveWhatTheSourceHas) {
  for (const uint64_t seed : testing::test_seeds(25)) {
    SCOPED_TRACE("LARDER_TEST_SEED=" + std::to_string(seed));
    Random random(seed);
    std::string model = random_text(seed, random.below(12 * kBlock));
    make(model, {.limit_bytes = random.one_in(3) ? 6 * kBlock : 64 * kBlock,
                 .memory_bytes = random.one_in(2) ? uint64_t{0} : uint64_t{1} << 20,
                 .block_shift = static_cast<uint8_t>(12 + random.below(3)),
                 .fetch_bytes_max = (1 + random.below(3)) * kBlock});
    remove_orphans();
    for (int step = 0; step < 120; ++step) {
      const uint64_t offset = random.below(model.size() + kBlock);
      const uint64_t length = random.below(3 * kBlock);
      switch (random.below(12)) {
        case 0:
        case 1:
        case 2:
        case 3: {
          const std::string bytes = random_text(random.next(), length);
          const bool append = random.one_in(4);
          const uint64_t at = append ? model.size() : offset;
          if (bytes.empty()) break;
          if (random.one_in(10)) source_.fail_after_next(CallKind::kWrite, Code::kIo);
          if (random.one_in(10))
            disk_.inject({.operation = testing::SimOperation::kWrite, .path_part = "objects/"});
          const auto written = write(bytes, offset, append);
          if (model.size() < at + bytes.size()) model.resize(at + bytes.size());
          model.replace(at, bytes.size(), bytes);
          disk_.clear_faults();
          if (!written) owner_->observe();  // what became of it, only the source knows
          break;
        }
        case 4:
          model.resize(random.one_in(2) ? offset : offset / kBlock * kBlock);
          truncate(model.size());
          break;
        case 5:
          owner_->observe();
          stack_->claim();
          break;
        case 6:
          if (random.one_in(2))
            file().evict();
          else
            file().punch(length);
          break;
        case 7:
          stack_->settle();
          file().idle();
          break;
        case 8:
          if (!random.one_in(4)) break;
          if (random.one_in(2))
            kill_and_restart();
          else
            lose_power_and_restart(random.next());
          owner_->observe();
          remove_orphans();
          break;
        default: {
          const auto text = try_read(offset, length);
          if (!text) {  // an error that was injected; asked again it must be right
            EXPECT_EQ(read(offset, length),
                      offset < model.size() ? model.substr(offset, length) : "");
            break;
          }
          EXPECT_TRUE(*text == (offset < model.size() ? model.substr(offset, length) : ""));
        }
      }
      ASSERT_EQ(file().size_bytes(), model.size()) << "step " << step;
      ASSERT_LE(stack_->residents->used_bytes(), stack_->residents->limit_bytes());
      stack_->settle();
      ASSERT_LE(object_bytes(), stack_->residents->used_bytes()) << "step " << step;
    }
    EXPECT_TRUE(source_.content("file") == model);
    stack_->settle();
    expect_cached_is_right();
    EXPECT_TRUE(read_all() == model);
    if (HasFailure()) break;
    let_go();
    disk_.process_death();
  }
}

}  // namespace
}  // namespace larder::cache
