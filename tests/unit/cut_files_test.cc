#include "fs/cut_files.h"

#include <gtest/gtest.h>

#include "fs/partial_writes.h"

namespace larder::fs {
namespace {

using namespace std::chrono_literals;

constexpr NodeId kFile{7};

TEST(CutFilesTest, NothingIsRefusedOfAFileThatWasNotCut) {
  CutFiles cuts;
  EXPECT_TRUE(cuts.empty());
  EXPECT_FALSE(cuts.refuses(kFile, 0, 4096, 0s));
  EXPECT_TRUE(cuts.note(NodeId{8}, 0s));
  EXPECT_FALSE(cuts.refuses(kFile, 0, 4096, 0s));
}

TEST(CutFilesTest, EachStretchIsRefusedOnce) {
  CutFiles cuts;
  EXPECT_TRUE(cuts.note(kFile, 0s));
  EXPECT_TRUE(cuts.refuses(kFile, 0, 131072, 1ms));
  for (const uint64_t page : {0, 4096, 126976}) EXPECT_FALSE(cuts.refuses(kFile, page, 4096, 2ms));
  EXPECT_TRUE(cuts.refuses(kFile, 131072, 4096, 3ms));
  EXPECT_FALSE(cuts.refuses(kFile, 131072, 4096, 4ms));
}

TEST(CutFilesTest, AnotherCutDoesNotRefuseWhatIsAskedForAgain) {
  CutFiles cuts;
  EXPECT_TRUE(cuts.note(kFile, 0s));
  EXPECT_TRUE(cuts.refuses(kFile, 0, 8192, 1ms));
  EXPECT_FALSE(cuts.note(kFile, 2ms));
  EXPECT_FALSE(cuts.refuses(kFile, 4096, 4096, 3ms));
  // By then it has been asked for, or nobody wanted it.
  EXPECT_TRUE(cuts.note(kFile, 2ms + CutFiles::kRetryTime));
  EXPECT_TRUE(cuts.refuses(kFile, 4096, 4096, 3ms + CutFiles::kRetryTime));
}

TEST(CutFilesTest, WhatWasRefusedIsAwaitedForAWhile) {
  CutFiles cuts;
  EXPECT_FALSE(cuts.awaits_retry(kFile, 0s));
  EXPECT_TRUE(cuts.note(kFile, 0s));
  EXPECT_FALSE(cuts.awaits_retry(kFile, 0s));
  EXPECT_TRUE(cuts.refuses(kFile, 0, 4096, 1ms));
  EXPECT_TRUE(cuts.awaits_retry(kFile, 2ms));
  EXPECT_FALSE(cuts.awaits_retry(NodeId{kFile.value + 1}, 2ms));
  EXPECT_FALSE(cuts.awaits_retry(kFile, 1ms + CutFiles::kRetryTime));
}

TEST(CutFilesTest, WhatGoesAgainIsRefusedOnceMore) {
  CutFiles cuts;
  EXPECT_TRUE(cuts.note_again(kFile, 0s));  // it was not cut
  EXPECT_TRUE(cuts.empty());
  EXPECT_TRUE(cuts.note(kFile, 0s));
  EXPECT_TRUE(cuts.note_again(kFile, CutFiles::kTime - 1ms));
  EXPECT_TRUE(cuts.refuses(kFile, 0, 4096, CutFiles::kTime));
  EXPECT_FALSE(cuts.note_again(kFile, CutFiles::kTime + 1ms));
}

TEST(CutFilesTest, ItIsKnownWhileTheKernelIsBeingTold) {
  CutFiles cuts;
  EXPECT_FALSE(cuts.begin_telling(kFile));
  EXPECT_FALSE(cuts.is_being_told(kFile));
  EXPECT_TRUE(cuts.note(kFile, 0s));
  EXPECT_TRUE(cuts.begin_telling(kFile));
  EXPECT_TRUE(cuts.begin_telling(kFile));  // of another of its inodes
  cuts.end_telling(kFile);
  EXPECT_TRUE(cuts.is_being_told(kFile));
  EXPECT_FALSE(cuts.is_being_told(NodeId{kFile.value + 1}));
  cuts.end_telling(kFile);
  EXPECT_FALSE(cuts.is_being_told(kFile));
  cuts.end_telling(kFile);  // it was forgotten and cut again meanwhile
  EXPECT_FALSE(cuts.is_being_told(kFile));
}

TEST(PartialWritesTest, OnlyTheEndsOfAWriteAreIncomplete) {
  PartialWrites writes;
  writes.written(0, 4096, 8192);
  for (const uint64_t page : {4096, 8192, 12288}) EXPECT_FALSE(writes.may_have(0, page));
  writes.written(0, 100, 8192);
  EXPECT_TRUE(writes.may_have(0, 0));
  EXPECT_FALSE(writes.may_have(0, 4096));
  EXPECT_TRUE(writes.may_have(0, 8192));
}

TEST(PartialWritesTest, ReadingCompletesThePagesOfOneInode) {
  PartialWrites writes;
  writes.written(0, 100, 8192);
  writes.written(1, 100, 10);
  writes.read(0, 0, 4096);
  EXPECT_FALSE(writes.may_have(0, 0));
  EXPECT_TRUE(writes.may_have(0, 8192));
  EXPECT_TRUE(writes.may_have(1, 0));
}

TEST(PartialWritesTest, WhatTheKernelLetGoIsReadAnew) {
  PartialWrites writes;
  writes.written(0, 100, 8192);
  writes.written(1, 100, 10);
  writes.dropped(0);
  EXPECT_FALSE(writes.may_have(0, 0));
  EXPECT_FALSE(writes.may_have(0, 8192));
  EXPECT_TRUE(writes.may_have(1, 0));
}

TEST(PartialWritesTest, MoreThanItKeepsMayBeAnywhere) {
  PartialWrites writes;
  for (uint64_t i = 0; i < PartialWrites::kPagesMax; ++i) writes.written(0, i * 4096 + 1, 1);
  EXPECT_FALSE(writes.may_have(0, 1 << 30));
  writes.written(0, 1 << 20, 1);
  EXPECT_TRUE(writes.may_have(0, 1 << 30));
}

TEST(CutFilesTest, ItsTimeEnds) {
  CutFiles cuts;
  cuts.note(kFile, 0s);
  EXPECT_FALSE(cuts.refuses(kFile, 0, 4096, CutFiles::kTime));
  EXPECT_TRUE(cuts.empty());
}

TEST(CutFilesTest, SoManyFilesAreKnownAtATime) {
  CutFiles cuts;
  for (uint64_t i = 1; i <= CutFiles::kFilesMax + 1; ++i) EXPECT_TRUE(cuts.note(NodeId{i}, 0s));
  EXPECT_TRUE(cuts.refuses(NodeId{1}, 0, 4096, 0s));
  EXPECT_FALSE(cuts.refuses(NodeId{CutFiles::kFilesMax + 1}, 0, 4096, 0s));
}

}  // namespace
}  // namespace larder::fs
