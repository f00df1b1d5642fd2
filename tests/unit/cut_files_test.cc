#include "fs/cut_files.h"

#include <gtest/gtest.h>

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
