#include <gtest/gtest.h>

#include "fuse/errno_map.h"

namespace larder::fuse {
namespace {

TEST(ErrnoMap, WhatTheSourceSaysComesThrough) {
  for (const int value : {ENOENT, EACCES, ENOSPC, ENOTEMPTY, EXDEV, ESTALE, EDEADLK, EDQUOT})
    EXPECT_EQ(errno_of(static_cast<Code>(value)), value);
}

TEST(ErrnoMap, OwnCodesBecomeWhatADiskWouldSay) {
  for (const Code code : {Code::kCorrupt, Code::kNewerFormat, Code::kTimedOut, Code::kSourceDown,
                          Code::kLimit, Code::kShort, Code::kPoisoned})
    EXPECT_EQ(errno_of(code), EIO);
  EXPECT_EQ(errno_of(Code::kCancelled), EINTR);
  EXPECT_EQ(errno_of(Code::kLocked), EBUSY);
}

TEST(ErrnoMap, ALostConnectionOfTheSourceIsNotOurs) {
  for (const int value : {ENOTCONN, ETIMEDOUT, EHOSTDOWN, ECONNABORTED, ENODEV})
    EXPECT_EQ(errno_of(static_cast<Code>(value)), EIO);
}

TEST(ErrnoMap, TheKernelTakesEveryResult) {
  // Also from codes that nobody has thought of.
  for (int value = -10; value <= static_cast<int>(Code::kLocked) + 10; ++value) {
    const int mapped = errno_of(static_cast<Code>(value));
    EXPECT_GT(mapped, 0) << value;
    EXPECT_LT(mapped, 512) << value;
    EXPECT_NE(mapped, ENOSYS) << value;
  }
}

}  // namespace
}  // namespace larder::fuse
