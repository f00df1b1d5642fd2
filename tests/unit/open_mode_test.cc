// Every row of the table of modes.
#include "fs/open_mode.h"

#include <gtest/gtest.h>

namespace larder::fs {
namespace {

using enum OpenWish;
constexpr auto kNobody = InodeUse::kNobody;
constexpr auto kCachedUse = InodeUse::kCached;
constexpr auto kObject = InodeUse::kObject;
constexpr auto kOldObject = InodeUse::kOldObject;
constexpr std::optional<OpenMode> kElsewhere = std::nullopt;

struct Row {
  InodeUse use;
  OpenWish wish;
  std::optional<OpenMode> mode;
  OpenMode when_forced;  // what must_open makes of it
};

constexpr Row kRows[] = {
    {kNobody, kReadWhole, OpenMode::kPassthrough, OpenMode::kPassthrough},
    {kNobody, kReadPart, OpenMode::kCached, OpenMode::kCached},
    {kNobody, kWrite, OpenMode::kCached, OpenMode::kCached},
    {kNobody, kReadWrite, OpenMode::kCached, OpenMode::kCached},
    {kCachedUse, kReadWhole, OpenMode::kCached, OpenMode::kCached},
    {kCachedUse, kReadPart, OpenMode::kCached, OpenMode::kCached},
    {kCachedUse, kWrite, OpenMode::kCached, OpenMode::kCached},
    {kCachedUse, kReadWrite, OpenMode::kCached, OpenMode::kCached},
    {kObject, kReadWhole, OpenMode::kPassthrough, OpenMode::kPassthrough},
    {kObject, kReadPart, OpenMode::kDirect, OpenMode::kDirect},
    {kObject, kWrite, OpenMode::kDirect, OpenMode::kDirect},
    {kObject, kReadWrite, kElsewhere, OpenMode::kDirect},
    {kOldObject, kReadWhole, kElsewhere, OpenMode::kDirect},
    {kOldObject, kReadPart, kElsewhere, OpenMode::kDirect},
    {kOldObject, kWrite, kElsewhere, OpenMode::kDirect},
    {kOldObject, kReadWrite, kElsewhere, OpenMode::kDirect},
};
static_assert(std::size(kRows) == kInodeUses * kOpenWishes);

TEST(OpenModeTest, EachUseAndWishHasItsMode) {
  for (const Row& row : kRows) {
    EXPECT_EQ(choose_open_mode(row.wish, row.use, false, false), row.mode);
    EXPECT_EQ(choose_open_mode(row.wish, row.use, false, true), row.when_forced);
  }
}

TEST(OpenModeTest, AnInodeThatIsAwaitedIsNotOpenedInPassthrough) {
  for (const Row& row : kRows) {
    const auto expected = row.use == kNobody ? OpenMode::kCached : row.mode;
    EXPECT_EQ(choose_open_mode(row.wish, row.use, true, false), expected);
  }
}

// The kernel refuses anything else (EIO).
TEST(OpenModeTest, AnInodeIsNeverInBothModes) {
  for (const Row& row : kRows)
    for (const bool awaited : {false, true})
      for (const bool must_open : {false, true}) {
        const auto mode = choose_open_mode(row.wish, row.use, awaited, must_open);
        if (!mode) continue;
        const bool is_cached = mode == OpenMode::kCached;
        EXPECT_EQ(row.use == kCachedUse && !is_cached, false);
        EXPECT_EQ((row.use == kObject || row.use == kOldObject) && is_cached, false);
      }
}

}  // namespace
}  // namespace larder::fs
