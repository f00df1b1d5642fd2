// Chunks of blocks that have records of their own: found by what is there, whatever the size.

#include "base/random.h"
#include "cache/chunk_list.h"
#include "cache_fixture.h"

namespace larder::cache {
namespace {

using testing::random_text;

constexpr uint64_t kChunkBlocks = catalog::kBlocksPerChunk;

std::vector<uint64_t> chunks_of(const ChunkList& list) {
  std::vector<uint64_t> chunks;
  for (uint64_t chunk = list.first(); chunk != 0; chunk = list.next(chunk)) chunks.push_back(chunk);
  return chunks;
}

TEST(ChunkList, RemovesAnyAndSaysWhoNamesAnother) {
  using Chunks = std::vector<uint64_t>;
  ChunkList list;
  for (const uint64_t chunk : {3, 7, 5, 9, 7}) list.add(chunk);
  EXPECT_EQ(chunks_of(list), (Chunks{9, 5, 7, 3}));
  EXPECT_EQ(list.remove({5, 7}), (Chunks{9}));
  EXPECT_EQ(chunks_of(list), (Chunks{9, 3}));
  EXPECT_EQ(list.remove({9}), Chunks{});
  EXPECT_EQ(chunks_of(list), Chunks{3});
  list.add(1);
  EXPECT_EQ(list.remove({3}), Chunks{1});
  EXPECT_EQ(list.remove({1, 2}), Chunks{});
  EXPECT_EQ(list.first(), 0U);
}

class ChunksTest : public CachedFileTest {
 protected:
  static constexpr uint64_t kChunkBytes = kChunkBlocks * kBlock;
  catalog::NodeRecord record() { return **stack_->catalog->node(node_); }
  bool has_record(ObjectId object, uint64_t chunk) {
    catalog::NodeRecord node;
    node.object = object;
    return stack_->catalog->chunk(node, chunk)->has_value();
  }
  // What an earlier run left of a file of 4 EiB: one block of a chunk far out.
  void make_huge(uint64_t chunk, bool is_listed) {
    start();
    source_.put("file", "of another size");
    node_ = *stack_->catalog->allocate_node();
    catalog::NodeRecord node;
    node.attributes.mode = S_IFREG | 0644;
    node.object = *stack_->catalog->allocate_object();
    node.version.size_bytes = uint64_t{1} << 62;
    node.block_shift = 12;
    node.data_stable = true;
    node.first_chunk.emplace();
    if (is_listed) node.further_chunks = chunk;
    catalog::Batch batch;
    batch.put(node.object, chunk, catalog::ChunkRecord{.present = 2, .checksums = {1}});
    batch.put(node_, node);
    ASSERT_TRUE(stack_->catalog->apply(batch));
    owner_ = std::make_shared<TestOwner>(*stack_, source_, node_, "file");
  }
};

TEST_F(ChunksTest, WhatWasCachedIsFoundAgain) {
  const std::string content = random_text(1, 5 * kChunkBytes);
  make(content);
  for (const uint64_t chunk : {4, 2, 0}) read(chunk * kChunkBytes, kBlock);
  stack_->settle();
  stack_->claim();
  read(3 * kChunkBytes, kBlock);
  stack_->settle();
  stack_->claim();
  const ObjectId object = file().object();
  kill_and_restart();
  const uint64_t reads_before = reads();
  for (const uint64_t chunk : {4, 3, 2, 0})
    EXPECT_EQ(read(chunk * kChunkBytes, kBlock), content.substr(chunk * kChunkBytes, kBlock));
  EXPECT_EQ(reads(), reads_before);
  file().drop();
  for (uint64_t chunk = 0; chunk < 5; ++chunk) EXPECT_FALSE(has_record(object, chunk)) << chunk;
}

TEST_F(ChunksTest, TheSizeOfAFileCostsNothing) {
  make_huge(uint64_t{1} << 43, true);
  EXPECT_FALSE(file().empty());
  const ObjectId object = file().object();
  EXPECT_TRUE(has_record(object, uint64_t{1} << 43));
  file().drop();
  EXPECT_FALSE(has_record(object, uint64_t{1} << 43));
}

TEST_F(ChunksTest, ChunksOfAnOlderLarderInAHugeFileAreFetchedAgain) {
  make_huge(uint64_t{1} << 43, false);
  EXPECT_TRUE(file().empty());
}

TEST_F(ChunksTest, ABrokenListIsNotBelieved) {
  const std::string content = random_text(1, 3 * kChunkBytes);
  make(content);
  fill();
  stack_->claim();
  catalog::Batch batch;
  batch.remove(file().object(), 2);
  ASSERT_TRUE(stack_->catalog->apply(batch));
  kill_and_restart();
  const uint64_t reads_before = reads();
  EXPECT_EQ(read(0, kBlock), content.substr(0, kBlock));
  EXPECT_GT(reads(), reads_before);
}

TEST_F(ChunksTest, ARoundOfPunchingLeavesTheOthersListed) {
  const std::string content = random_text(1, 5 * kChunkBytes);
  make(content, {.evict_whole_bytes_max = kChunkBytes});
  for (const uint64_t chunk : {4, 1, 3, 2}) {
    read(chunk * kChunkBytes, kChunkBytes);
    stack_->settle();
    stack_->claim();
  }
  ASSERT_TRUE(file().punch(2 * kChunkBytes));
  kill_and_restart();
  const uint64_t reads_before = reads();
  for (const uint64_t chunk : {1, 2})
    EXPECT_EQ(read(chunk * kChunkBytes, kBlock), content.substr(chunk * kChunkBytes, kBlock));
  EXPECT_EQ(reads(), reads_before);
  read(4 * kChunkBytes, kBlock);
  EXPECT_GT(reads(), reads_before);
}

// A full disk in the middle of a write: some of it arrived.
TEST_F(ChunksTest, WhatAFailedWriteAddedIsNotTakenForAnothersChange) {
  make(random_text(1, 2 * kBlock));
  fill();
  auto pin = file().pin();
  ASSERT_TRUE(pin);
  source_.fail_after_next(CallKind::kWrite, Code::kNoSpace);
  EXPECT_FALSE(write("some more", 2 * kBlock));
  EXPECT_EQ(file().size_bytes(), source_.content("file").size());
  EXPECT_FALSE(owner_->observe());
  EXPECT_EQ(file().generation(), pin->generation) << "the reader has the object still";
  std::string text(source_.content("file").size(), '\0');
  const auto got = pin->file->read_at(std::as_writable_bytes(std::span(text)), 0);
  ASSERT_TRUE(got);
  EXPECT_EQ(text, source_.content("file"));
  file().unpin(pin->generation);
}

}  // namespace
}  // namespace larder::cache
