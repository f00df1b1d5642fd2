#include "fs/same_file.h"

#include <gtest/gtest.h>

namespace larder::fs {
namespace {

using source::InodeNumbers;

TEST(SameFile, Table) {
  struct Row {
    InodeNumbers numbers;
    uint64_t known;
    uint64_t found;
    bool is_other_version;
    FileIs expected;
  };
  constexpr auto kNone = InodeNumbers::kUnreliable;
  constexpr auto kMounted = InodeNumbers::kWhileMounted;
  constexpr auto kStable = InodeNumbers::kStable;
  const Row rows[] = {
      {kStable, 7, 7, false, FileIs::kSame},
      {kStable, 7, 7, true, FileIs::kChangedInPlace},
      {kStable, 7, 8, false, FileIs::kAnother},
      {kStable, 7, 8, true, FileIs::kAnother},
      // On a file system mounted beneath the source, or known from an earlier run.
      {kStable, 0, 0, false, FileIs::kSame},
      {kStable, 0, 0, true, FileIs::kMaybeAnother},
      {kStable, 0, 8, true, FileIs::kMaybeAnother},
      {kStable, 7, 0, true, FileIs::kMaybeAnother},
      {kMounted, 7, 7, false, FileIs::kSame},
      {kMounted, 7, 7, true, FileIs::kChangedInPlace},
      {kMounted, 7, 8, false, FileIs::kAnother},
      {kMounted, 7, 8, true, FileIs::kAnother},
      {kMounted, 0, 8, false, FileIs::kSame},
      {kMounted, 0, 8, true, FileIs::kMaybeAnother},
      // Numbers that follow names, or are counted up for each look-up.
      {kNone, 7, 7, false, FileIs::kSame},
      {kNone, 7, 7, true, FileIs::kMaybeAnother},
      {kNone, 7, 8, false, FileIs::kSame},
      {kNone, 7, 8, true, FileIs::kMaybeAnother},
  };
  for (const Row& row : rows)
    EXPECT_EQ(compare_files(row.numbers, row.known, row.found, row.is_other_version), row.expected)
        << static_cast<int>(row.numbers) << ' ' << row.known << ' ' << row.found << ' '
        << row.is_other_version;
}

}  // namespace
}  // namespace larder::fs
