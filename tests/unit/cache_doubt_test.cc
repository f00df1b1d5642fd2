// What is made of a source's file that ends before its size.

#include "base/random.h"
#include "cache/block_ranges.h"
#include "cache_fixture.h"

namespace larder::cache {
namespace {

using testing::random_text;
using Which = testing::FakeSource::Which;

TEST(BlockRanges, JoinsWhatFollowsOneAnother) {
  BlockRanges ranges;
  ranges.add(4, 5);
  ranges.add(8, 9);
  ranges.add(1, 1);
  EXPECT_EQ(ranges.ranges().size(), 3U);
  ranges.add(6, 7);
  EXPECT_EQ(ranges.ranges(), (std::map<uint64_t, uint64_t>{{1, 1}, {4, 9}}));
  ranges.add(0, 20);
  EXPECT_EQ(ranges.ranges(), (std::map<uint64_t, uint64_t>{{0, 20}}));
}

TEST_F(CachedFileTest, WhatCameThroughADescriptorThatEndsEarlyIsDropped) {
  make(random_text(1, 8 * kBlock));
  EXPECT_EQ(read(0, 2 * kBlock), source_.content("file").substr(0, 2 * kBlock));
  stack_->settle();
  source_.end_reads("file", 4 * kBlock, Which::kOpen);
  const auto text = try_read(4 * kBlock, kBlock);
  ASSERT_FALSE(text);
  EXPECT_TRUE(text.error().is(Code::kStale)) << text.error().message();
  EXPECT_TRUE(file().empty());
  EXPECT_TRUE(file().take_doubt());
  EXPECT_FALSE(owner_->observe()) << "the attributes are the same";
  const uint64_t reads_before = reads();
  EXPECT_EQ(read_all(), source_.content("file")) << "a fresh descriptor has all of it";
  EXPECT_GT(reads(), reads_before);
  EXPECT_FALSE(file().size_is_made_up());
}

TEST_F(CachedFileTest, WhatAnEarlierDescriptorGaveStays) {
  make(random_text(1, 8 * kBlock));
  EXPECT_EQ(read(0, 2 * kBlock), source_.content("file").substr(0, 2 * kBlock));
  stack_->settle();
  file().idle();
  EXPECT_EQ(read(3 * kBlock, kBlock), source_.content("file").substr(3 * kBlock, kBlock));
  stack_->settle();
  source_.end_reads("file", 4 * kBlock, Which::kOpen);
  EXPECT_FALSE(try_read(4 * kBlock, kBlock));
  const uint64_t reads_before = reads();
  EXPECT_EQ(read(0, 2 * kBlock), source_.content("file").substr(0, 2 * kBlock));
  EXPECT_EQ(reads(), reads_before);
  read(3 * kBlock, kBlock);
  EXPECT_GT(reads(), reads_before);
}

TEST_F(CachedFileTest, WhatWasDroppedSoIsNotBelievedAfterACrashEither) {
  make(random_text(1, 8 * kBlock));
  EXPECT_EQ(read(0, 2 * kBlock), source_.content("file").substr(0, 2 * kBlock));
  stack_->settle();
  stack_->claim();
  ASSERT_TRUE(claimed());
  source_.end_reads("file", 4 * kBlock, Which::kOpen);
  EXPECT_FALSE(try_read(4 * kBlock, kBlock));
  kill_and_restart();
  const uint64_t reads_before = reads();
  EXPECT_EQ(read(0, kBlock), source_.content("file").substr(0, kBlock));
  EXPECT_GT(reads(), reads_before);
}

TEST_F(CachedFileTest, ASizeThatTwoDescriptorsContradictIsMadeUp) {
  make(random_text(1, 4096));
  source_.end_reads("file", 23, Which::kAll);
  EXPECT_TRUE(try_read(0, 4096).error().is(Code::kStale));
  EXPECT_FALSE(owner_->observe());
  EXPECT_FALSE(file().size_is_made_up());
  EXPECT_TRUE(try_read(0, 4096).error().is(Code::kStale));
  ASSERT_TRUE(file().size_is_made_up());
  EXPECT_TRUE(file().empty());
  std::vector<Slice> slices;
  EXPECT_TRUE(run(file().read_past_cache(0, 4096, &slices)));
  EXPECT_EQ(testing::text_of(slices), source_.content("file").substr(0, 23));
  source_.overwrite("file", 0, "another version");
  EXPECT_TRUE(owner_->observe());
  EXPECT_FALSE(file().size_is_made_up());
}

// sshfs ends files where its server cannot read them, for as long as that lasts.
TEST_F(CachedFileTest, ASourceThatFailsByEndingIsNotBelievedWhereItMayHaveFailed) {
  make(random_text(1, 8 * kBlock));
  source_.set_fails_by_ending(true);
  source_.end_reads("file", 4 * kBlock, Which::kAll);
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(try_read(4 * kBlock, kBlock).error().is(Code::kStale));
    EXPECT_FALSE(owner_->observe());
    EXPECT_TRUE(try_read(4 * kBlock, kBlock).error().is(Code::kIo));
    EXPECT_FALSE(file().size_is_made_up());
  }
  source_.end_reads("file", 0, Which::kOpen);
  source_.end_reads("file", 8 * kBlock, Which::kAll);
  EXPECT_EQ(read_all(), source_.content("file"));
}

TEST_F(CachedFileTest, AShortageOfBuffersDropsNothing) {
  make(random_text(1, 8 * kBlock));
  fill();
  const uint64_t generation = file().generation();
  std::vector<buffer::BufferRef> all;
  while (buffer::BufferRef one = stack_->pool.allocate(kBlock)) all.push_back(std::move(one));
  auto reader = start_read(0, kBlock);
  const auto text = reader.get();
  ASSERT_FALSE(text);
  EXPECT_TRUE(text.error().is(Code::kLimit));
  EXPECT_EQ(file().generation(), generation);
  EXPECT_TRUE(file().resident());
  EXPECT_EQ(store_errors(), 0);
  all.clear();
  EXPECT_EQ(read_all(), source_.content("file"));
}

}  // namespace
}  // namespace larder::cache
