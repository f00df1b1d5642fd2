// Eviction of large objects: their end is punched out, and nothing that is claimed ever is a hole.
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "base/random.h"
#include "cache/audit.h"
#include "cache_fixture.h"

namespace larder::cache {
namespace {

using testing::random_text;

constexpr uint64_t kChunkBlocks = catalog::kBlocksPerChunk;

class PunchTest : public CachedFileTest {
 protected:
  static constexpr uint64_t kBlocks = 2 * kChunkBlocks + 8;
  // A file of two chunks and eight blocks, cached, claimed, and large.
  void make_large() {
    content_ = random_text(1, kBlocks * kBlock);
    make(content_, {.evict_whole_bytes_max = kChunkBlocks * kBlock});
    fill();
    stack_->claim();
  }
  uint64_t object_bytes_on_disk() const {
    uint64_t bytes = 0;
    for (const std::string& path : disk_.paths()) {
      if (!path.starts_with("objects/") || path.size() < 12) continue;
      auto file = const_cast<testing::SimDisk&>(disk_).open(path, io::OpenMode::kReadOnly);
      if (file) bytes += (*file)->info()->allocated_bytes;
    }
    return bytes;
  }
  void restart_cleanly() {
    stack_->settle();
    stack_->stop();
    owner_.reset();
    stack_->close();
    stack_.reset();
    restart();
  }
  uint64_t counted_blocks() const { return stack_->residents->object_bytes() / kBlock; }
  std::string content_;
};

TEST_F(PunchTest, TakesWholeChunksFromTheEnd) {
  make_large();
  ASSERT_TRUE(file().is_large(1));
  EXPECT_EQ(counted_blocks(), kBlocks);
  EXPECT_TRUE(file().punch(1));
  EXPECT_EQ(counted_blocks(), 2 * kChunkBlocks);
  EXPECT_EQ(object_bytes_on_disk(), 2 * kChunkBlocks * kBlock);
  EXPECT_FALSE(claimed(2));
  EXPECT_TRUE(claimed(1));
  EXPECT_FALSE(file().resident());
  EXPECT_EQ(stack_->metric("larder_punched_bytes_total"), static_cast<int64_t>(8 * kBlock));

  const uint64_t before = reads();
  EXPECT_EQ(read(0, 2 * kChunkBlocks * kBlock), content_.substr(0, 2 * kChunkBlocks * kBlock));
  EXPECT_EQ(reads(), before);
  EXPECT_EQ(read_all(), content_);
  EXPECT_GT(reads(), before);
  stack_->settle();
  EXPECT_TRUE(file().resident());
}

TEST_F(PunchTest, GoesOnUntilTheFileIsNoLongerLarge) {
  make_large();
  EXPECT_TRUE(file().punch((kChunkBlocks + 1) * kBlock));
  EXPECT_EQ(counted_blocks(), kChunkBlocks);
  EXPECT_FALSE(file().is_large(1));
  EXPECT_TRUE(file().punch(UINT64_MAX));
  EXPECT_EQ(counted_blocks(), 0U);
  EXPECT_FALSE(file().punch(1));  // there is nothing more
  EXPECT_EQ(read_all(), content_);
}

TEST_F(PunchTest, LeavesAloneWhatIsOpenInPassthroughOrBeingChanged) {
  make_large();
  const auto pin = file().pin();
  ASSERT_TRUE(pin);
  EXPECT_FALSE(file().punch(1));
  EXPECT_FALSE(file().evict());
  file().unpin(pin->generation);
  EXPECT_TRUE(file().is_large(1));
  run(file().begin_change(0, 1));
  EXPECT_FALSE(file().punch(1));
  file().end_change(0, 1, std::nullopt);
  EXPECT_TRUE(file().punch(1));
}

// The mapping is of the object, and outlives the descriptor.
TEST_F(PunchTest, LeavesAloneWhatAProgramHasMapped) {
  for (const bool is_closed : {false, true}) {
    make_large();
    const auto map = disk_.use_elsewhere(object::Objects::path(file().object()));
    {
      const auto pin = file().pin();
      ASSERT_TRUE(pin);
      file().unpin(pin->generation);
    }
    if (is_closed) file().idle();
    EXPECT_TRUE(file().is_exposed());
    EXPECT_FALSE(file().is_large(1));
    EXPECT_FALSE(file().punch(1));
    EXPECT_FALSE(file().evict());
    EXPECT_EQ(counted_blocks(), kBlocks);
    map(false);
    EXPECT_FALSE(file().is_exposed());
    EXPECT_TRUE(file().is_large(1));
    EXPECT_TRUE(file().punch(1));
    EXPECT_TRUE(file().evict());
    EXPECT_EQ(read_all(), content_);
    let_go();
    disk_.process_death();
  }
}

// Larder's own looking at it is nobody's use.
TEST_F(PunchTest, WhatIsClosedAndMappedNoMoreIsLikeAnyOther) {
  make_large();
  for (const bool is_tidied : {false, true}) {
    {
      const auto pin = file().pin();
      ASSERT_TRUE(pin);
      file().unpin(pin->generation);
    }
    file().idle();
    if (is_tidied)
      EXPECT_TRUE(file().tidy());
    else
      EXPECT_TRUE(file().punch(1));
    fill();
  }
}

TEST_F(PunchTest, WhereTheDiskDoesNotTellWhatMayBeMappedGoesWhole) {
  make_large();
  disk_.set_tells_use(false);
  {
    const auto pin = file().pin();
    ASSERT_TRUE(pin);
    EXPECT_TRUE(file().is_exposed());
    file().unpin(pin->generation);
  }
  EXPECT_FALSE(file().is_exposed());
  EXPECT_FALSE(file().punch(1)) << "it may be mapped";
  EXPECT_FALSE(file().is_large(1));
  EXPECT_TRUE(file().evict());
  EXPECT_EQ(stack_->mapped->count(), 0U);
  EXPECT_EQ(counted_blocks(), 0U);
  EXPECT_EQ(read_all(), content_);
  stack_->settle();
  EXPECT_TRUE(file().is_large(1));
  EXPECT_TRUE(file().punch(1));
}

// Through the mount that was killed: nobody has pinned it in this run.
TEST_F(PunchTest, WhatMayBeMappedAfterACrashIsAskedFor) {
  make_large();
  stack_->claim();
  kill_and_restart();
  const auto use = disk_.use_elsewhere(object::Objects::path(file().object()));
  EXPECT_FALSE(file().evict());
  EXPECT_GT(counted_blocks(), 0U);
  file().drop();
  EXPECT_EQ(stack_->mapped->count(), 1U);
  EXPECT_GT(counted_blocks(), 0U);
  use(false);
  stack_->mapped->step();
  EXPECT_EQ(counted_blocks(), 0U);
  EXPECT_EQ(read_all(), content_);
  EXPECT_TRUE(file().evict());
}

// It may have been opened through a mount whose daemon was killed.
TEST_F(PunchTest, WhatIsUsedByWhoeverItIsIsNotPunched) {
  make_large();
  const auto use = disk_.use_elsewhere(object::Objects::path(file().object()));
  EXPECT_FALSE(file().punch(1));
  EXPECT_FALSE(file().tidy());
  use(false);
  EXPECT_TRUE(file().punch(1));
  EXPECT_TRUE(file().tidy());
}

// Bytes that a crash came before the claim of: to this run they are not there.
TEST_F(PunchTest, WhatAProgramGoesOnUsingAfterACrashKeepsItsBytes) {
  make_large();
  ASSERT_TRUE(file().punch(1));
  stack_->claim();
  restart_cleanly();
  const std::string path = object::Objects::path(file().object());
  {
    auto object = disk_.open(path, io::OpenMode::kReadWrite);
    ASSERT_TRUE(object);
    ASSERT_TRUE((*object)->write_at(std::as_bytes(std::span(content_)), 0));
  }
  const auto use = disk_.use_elsewhere(path);
  EXPECT_FALSE(file().tidy());
  EXPECT_EQ(disk_.content(path), content_);
  use(false);
  EXPECT_TRUE(file().tidy());
  EXPECT_EQ(object_bytes_on_disk(), 2 * kChunkBlocks * kBlock);
  EXPECT_EQ(read_all(), content_);
}

TEST_F(PunchTest, PassesOverChunksThatAreBeingFetched) {
  content_ = random_text(1, kBlocks * kBlock);
  make(content_, {.evict_whole_bytes_max = kBlock});
  read(0, kBlocks * kBlock - kBlock);
  stack_->settle();
  auto hold = source_.hold(CallKind::kRead);
  auto reader = start_read((kBlocks - 1) * kBlock, kBlock);
  hold->wait_for_calls(1);
  EXPECT_TRUE(file().punch(1));
  EXPECT_EQ(counted_blocks(), kBlocks - 1 - kChunkBlocks);  // the second chunk went
  hold->release();
  EXPECT_TRUE(reader.get().has_value());
  stack_->settle();
  EXPECT_EQ(counted_blocks(), kBlocks - kChunkBlocks);
  EXPECT_EQ(read_all(), content_);
}

TEST_F(PunchTest, AFailedSyncOfTheCatalogDropsTheFile) {
  make_large();
  disk_.inject({.operation = testing::SimOperation::kSync, .path_part = "journal/"});
  EXPECT_TRUE(file().punch(1));
  EXPECT_EQ(counted_blocks(), 0U);
  EXPECT_EQ(store_errors(), 2);  // the journal takes no more: not even that the file was dropped
  EXPECT_EQ(read_all(), content_);
}

TEST_F(PunchTest, AFailedPunchDropsTheFile) {
  make_large();
  disk_.inject({.operation = testing::SimOperation::kPunch, .path_part = "objects/"});
  EXPECT_TRUE(file().punch(1));
  EXPECT_EQ(counted_blocks(), 0U);
  EXPECT_EQ(object_bytes_on_disk(), 0U);
  EXPECT_EQ(read_all(), content_);
}

// Whatever step power is lost at: what is claimed afterwards has its bytes.
TEST_F(PunchTest, IsRightWhateverStepPowerIsLostAt) {
  bool crashed = true;
  uint64_t punched = 0;
  for (uint64_t step = 1; crashed; ++step) {
    for (const uint64_t seed : {1, 2, 3}) {
      SCOPED_TRACE(std::to_string(step) + " " + std::to_string(seed));
      make_large();
      disk_.crash_at_step(step);
      file().punch((kChunkBlocks + 1) * kBlock);
      crashed = disk_.is_crashed();
      lose_power_and_restart(step * 10 + seed);
      EXPECT_FALSE(owner_->observe());
      if (!claimed(2)) ++punched;
      EXPECT_EQ(read_all(), content_);
      let_go();
      disk_.process_death();
    }
  }
  EXPECT_GT(punched, 0U);
}

// Readers, claims and punches at the same time: every byte read is right.
TEST_F(PunchTest, ReadersNeverSeeAHole) {
  content_ = random_text(1, kBlocks * kBlock);
  make(content_, {.memory_bytes = 16 * kBlock, .evict_whole_bytes_max = kBlock, .reactors = 2});
  std::atomic<bool> done{false};
  std::thread puncher([&] {
    Random random(1);
    while (!done) {
      file().punch((1 + random.below(kChunkBlocks)) * kBlock);
      if (random.one_in(3)) stack_->claim();
      if (random.one_in(5)) file().idle();
    }
  });
  std::vector<std::thread> readers;
  for (size_t t = 0; t < 2; ++t)
    readers.emplace_back([&, t] {
      Random random(10 + t);
      for (int i = 0; i < 400; ++i) {
        const uint64_t offset = random.below(content_.size());
        const uint64_t length = 1 + random.below(6 * kBlock);
        const auto text =
            testing::start_on(stack_->reactor(t), read_task(owner_, offset, length)).get();
        // One whose object is punched again and again gives up in the end.
        if (text)
          EXPECT_TRUE(*text == content_.substr(offset, length)) << offset;
        else
          EXPECT_TRUE(text.error().is(Code::kIo)) << text.error().message();
      }
    });
  for (std::thread& reader : readers) reader.join();
  done = true;
  puncher.join();
  stack_->settle();
  stack_->claim();
  EXPECT_EQ(object_bytes_on_disk(), stack_->residents->object_bytes());
  EXPECT_EQ(read_all(), content_);
}

// What is counted is what the file system says the object takes.
TEST_F(PunchTest, WhatAClaimFindsOnTheDiskIsWhatCounts) {
  make_large();
  EXPECT_EQ(object_bytes_on_disk(), stack_->residents->object_bytes());
  read(0, kBlock);
  EXPECT_TRUE(file().punch(1));
  ASSERT_TRUE(write(random_text(3, 3 * kBlock), 2 * kChunkBlocks * kBlock + 100));
  owner_->observe();
  stack_->claim();
  EXPECT_EQ(object_bytes_on_disk(), stack_->residents->object_bytes());
  // Bytes that nobody claims, as a crash leaves them, count too, once they are seen.
  EXPECT_TRUE(file().punch(1));
  {
    const auto object = (**stack_->catalog->node(node_)).object;
    const auto opened = std::move(*stack_->objects->open(object));
    const std::string left_over(2 * kBlock, 'x');
    ASSERT_TRUE(opened->write_at(std::as_bytes(std::span(left_over)), 2 * kChunkBlocks * kBlock));
  }
  ASSERT_TRUE(write("a change", 0));
  owner_->observe();
  stack_->claim();
  EXPECT_EQ(counted_blocks(), 2 * kChunkBlocks + 2);
  EXPECT_EQ(object_bytes_on_disk(), stack_->residents->object_bytes());
  EXPECT_EQ((**stack_->catalog->node(node_)).object_bytes, object_bytes_on_disk());
  restart_cleanly();
  EXPECT_EQ(object_bytes_on_disk(), stack_->residents->object_bytes());
  EXPECT_EQ(read_all(), source_.content("file"));
}

// The object is made after its number was taken: a drop in between has nothing to remove yet.
TEST_F(CachedFileTest, AnObjectThatIsDroppedWhileItIsMadeLeavesNoFile) {
  make(random_text(1, kBlock));
  int drops = 0;
  disk_.set_before_open([&](const std::string& path) {
    if (path.starts_with(object::Objects::kTop) && drops++ == 0) file().drop();
  });
  EXPECT_EQ(read_all(), source_.content("file"));
  stack_->settle();
  EXPECT_EQ(drops, 1);
  for (const std::string& path : disk_.paths())
    EXPECT_FALSE(path.starts_with(object::Objects::kTop) && path.size() > 16) << path;
  EXPECT_EQ(stack_->residents->used_bytes(), 0U);
  fill();
  EXPECT_TRUE(file().resident());
  disk_.set_before_open(nullptr);
}

// Somebody else could take the room while the file still has it.
TEST_F(CachedFileTest, AnObjectCountsUntilItsFileIsGone) {
  make(random_text(1, 3 * kBlock));
  fill();
  std::vector<uint64_t> counted;
  disk_.set_before_remove([&](const std::string& path) {
    if (path.starts_with(object::Objects::kTop)) counted.push_back(stack_->residents->used_bytes());
  });
  EXPECT_TRUE(file().evict());
  EXPECT_EQ(counted, std::vector<uint64_t>{3 * kBlock});
  EXPECT_EQ(stack_->residents->used_bytes(), 0U);
  EXPECT_EQ(stack_->residents->count(), 0U);
  disk_.set_before_remove(nullptr);
}

// Its file is still there; the audit of a later mount removes it.
TEST_F(PunchTest, WhatCannotBeRemovedCountsAsLongAsTheMountLasts) {
  make_large();
  disk_.inject({.operation = testing::SimOperation::kRemove, .path_part = "objects/"});
  EXPECT_TRUE(file().evict());
  EXPECT_EQ(object_bytes_on_disk(), kBlocks * kBlock);
  EXPECT_EQ(counted_blocks(), kBlocks);
  EXPECT_EQ(stack_->residents->count(), 0U);
  EXPECT_EQ(read_all(), content_);
  stack_->settle();
  EXPECT_EQ(counted_blocks(), 2 * kBlocks);
  restart_cleanly();
  EXPECT_TRUE(*Audit::take_on(*stack_->catalog));
  EXPECT_EQ(read_all(), content_);
}

TEST_F(CachedFileTest, WhatCouldNotBeMadeIsNotCounted) {
  const std::string content = random_text(1, 2 * kBlock);
  make(content);
  disk_.inject({.operation = testing::SimOperation::kOpen, .path_part = "objects/", .times = 4});
  EXPECT_EQ(read_all(), content);
  stack_->settle();
  EXPECT_EQ(stack_->residents->count(), 0U);
  EXPECT_EQ(stack_->residents->used_bytes(), 0U);
  disk_.clear_faults();
  fill();
  EXPECT_TRUE(file().resident());
  EXPECT_EQ(stack_->residents->count(), 1U);
}

}  // namespace
}  // namespace larder::cache
