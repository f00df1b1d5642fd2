#include "fs/locks.h"

#include <gtest/gtest.h>

#include <array>
#include <optional>
#include <string>
#include <vector>

#include "base/random.h"

namespace larder::fs {
namespace {

constexpr NodeId kNode{7};
constexpr NodeId kOtherNode{8};
constexpr uint64_t kAnn = 1;
constexpr uint64_t kBob = 2;
constexpr uint64_t kCid = 3;

PosixLock lock(uint64_t owner, LockType type, uint64_t first, uint64_t last) {
  return {first, last, type, owner, static_cast<pid_t>(owner + 100)};
}
PosixLock read_lock(uint64_t owner, uint64_t first, uint64_t last) {
  return lock(owner, LockType::kRead, first, last);
}
PosixLock write_lock(uint64_t owner, uint64_t first, uint64_t last) {
  return lock(owner, LockType::kWrite, first, last);
}
PosixLock unlock(uint64_t owner, uint64_t first, uint64_t last) {
  return lock(owner, LockType::kUnlock, first, last);
}

Code code_of(const Result<void>& result) {
  return result ? Code{} : result.error().code();
}
constexpr Code kAgain = static_cast<Code>(EAGAIN);

// Where a waiter's answer arrives.
struct Answer {
  std::optional<Result<void>> result;
  LockTable::Done done() {
    return [this](Result<void> answer) {
      ASSERT_FALSE(result.has_value()) << "answered twice";
      result = std::move(answer);
    };
  }
  bool granted() const { return result.has_value() && result->has_value(); }
};

TEST(PosixLocks, ReadersShareAndWritersExclude) {
  LockTable table;
  EXPECT_TRUE(table.set(kNode, read_lock(kAnn, 0, 9)));
  EXPECT_TRUE(table.set(kNode, read_lock(kBob, 5, 14)));
  EXPECT_EQ(code_of(table.set(kNode, write_lock(kCid, 9, 9))), kAgain);
  EXPECT_TRUE(table.set(kNode, write_lock(kCid, 15, UINT64_MAX)));
  EXPECT_TRUE(table.set(kOtherNode, write_lock(kCid, 0, 9)));
  EXPECT_EQ(code_of(table.set(kNode, read_lock(kAnn, 20, 20))), kAgain);
}

TEST(PosixLocks, TestTellsTheFirstLockInTheWay) {
  LockTable table;
  ASSERT_TRUE(table.set(kNode, write_lock(kBob, 20, 29)));
  ASSERT_TRUE(table.set(kNode, read_lock(kAnn, 0, 9)));
  EXPECT_FALSE(table.test(kNode, read_lock(kCid, 0, 19)));
  const auto found = table.test(kNode, write_lock(kCid, 5, UINT64_MAX));
  ASSERT_TRUE(found);
  EXPECT_EQ(found->owner, kAnn);
  EXPECT_EQ(found->pid, read_lock(kAnn, 0, 0).pid);
  EXPECT_EQ(found->first, 0U);
  EXPECT_EQ(found->last, 9U);
  EXPECT_FALSE(table.test(kNode, write_lock(kAnn, 0, 9))) << "one's own lock is not in the way";
}

TEST(PosixLocks, RangesMergeSplitUpgradeAndDowngrade) {
  LockTable table;
  ASSERT_TRUE(table.set(kNode, write_lock(kAnn, 0, 9)));
  ASSERT_TRUE(table.set(kNode, write_lock(kAnn, 10, 19)));
  EXPECT_EQ(table.counts().locks, 1U) << "neighbours of one type are one lock";
  ASSERT_TRUE(table.set(kNode, unlock(kAnn, 5, 6)));
  EXPECT_EQ(table.counts().locks, 2U);
  EXPECT_TRUE(table.set(kNode, write_lock(kBob, 5, 6)));
  EXPECT_EQ(code_of(table.set(kNode, write_lock(kBob, 4, 4))), kAgain);
  ASSERT_TRUE(table.set(kNode, read_lock(kAnn, 12, 13)));
  EXPECT_TRUE(table.set(kNode, read_lock(kBob, 12, 13)));
  EXPECT_EQ(code_of(table.set(kNode, read_lock(kBob, 14, 14))), kAgain);
  EXPECT_EQ(code_of(table.set(kNode, write_lock(kAnn, 12, 12))), kAgain) << "Bob reads there too";
}

TEST(PosixLocks, WaitersAreGrantedInOrderAndMemoryIsGivenBack) {
  LockTable table;
  ASSERT_TRUE(table.set(kNode, write_lock(kAnn, 0, 9)));
  Answer bob;
  Answer cid;
  EXPECT_NE(table.set_or_wait(kNode, write_lock(kBob, 0, 4), bob.done()), 0U);
  EXPECT_NE(table.set_or_wait(kNode, write_lock(kCid, 0, 9), cid.done()), 0U);
  EXPECT_EQ(table.counts().waiters, 2U);
  table.release_posix(kNode, kAnn);
  EXPECT_TRUE(bob.granted());
  EXPECT_FALSE(cid.result);
  table.release_posix(kNode, kBob);
  EXPECT_TRUE(cid.granted());
  table.release_posix(kNode, kCid);
  EXPECT_EQ(table.counts().nodes, 0U);
  EXPECT_EQ(table.counts().locks, 0U);
}

TEST(PosixLocks, AGrantThatWeakensALockFreesEarlierWaiters) {
  LockTable table;
  ASSERT_TRUE(table.set(kNode, write_lock(kAnn, 0, 4)));
  ASSERT_TRUE(table.set(kNode, write_lock(kBob, 6, 7)));
  Answer cid;
  Answer ann;
  ASSERT_NE(table.set_or_wait(kNode, read_lock(kCid, 0, 4), cid.done()), 0U);
  ASSERT_NE(table.set_or_wait(kNode, read_lock(kAnn, 0, 9), ann.done()), 0U);
  table.release_posix(kNode, kBob);
  EXPECT_TRUE(ann.granted());
  EXPECT_TRUE(cid.granted());
}

TEST(PosixLocks, ACancelledWaiterIsAnsweredOnceAndOthersGoOn) {
  LockTable table;
  ASSERT_TRUE(table.set(kNode, write_lock(kAnn, 0, 9)));
  Answer bob;
  const auto ticket = table.set_or_wait(kNode, write_lock(kBob, 0, 9), bob.done());
  table.cancel(ticket);
  ASSERT_TRUE(bob.result);
  EXPECT_EQ(code_of(*bob.result), Code::kCancelled);
  table.cancel(ticket);
  Answer cid;
  table.set_or_wait(kNode, write_lock(kCid, 0, 9), cid.done());
  table.close();
  ASSERT_TRUE(cid.result);
  EXPECT_EQ(code_of(*cid.result), Code::kCancelled);
  Answer late;
  EXPECT_EQ(table.set_or_wait(kNode, write_lock(kCid, 0, 9), late.done()), 0U);
  ASSERT_TRUE(late.result);
  EXPECT_EQ(code_of(*late.result), Code::kCancelled);
  EXPECT_TRUE(table.set(kNode, unlock(kAnn, 0, UINT64_MAX)));
  EXPECT_EQ(table.counts().nodes, 0U);
}

TEST(PosixLocks, ACircleOfWaitersIsRefused) {
  LockTable table;
  ASSERT_TRUE(table.set(kNode, write_lock(kAnn, 0, 0)));
  ASSERT_TRUE(table.set(kNode, write_lock(kBob, 1, 1)));
  ASSERT_TRUE(table.set(kOtherNode, write_lock(kCid, 2, 2)));
  Answer ann;
  Answer bob;
  Answer cid;
  ASSERT_NE(table.set_or_wait(kNode, write_lock(kAnn, 1, 1), ann.done()), 0U);
  ASSERT_NE(table.set_or_wait(kOtherNode, write_lock(kBob, 2, 2), bob.done()), 0U);
  EXPECT_EQ(table.set_or_wait(kNode, write_lock(kCid, 0, 0), cid.done()), 0U);
  ASSERT_TRUE(cid.result);
  EXPECT_EQ(code_of(*cid.result), static_cast<Code>(EDEADLK));
  table.release_posix(kOtherNode, kCid);
  EXPECT_TRUE(bob.granted());
  table.release_posix(kNode, kBob);
  EXPECT_TRUE(ann.granted());
}

TEST(PosixLocks, TheLimitHoldsAlsoForSplitsAndWaiters) {
  constexpr size_t kLimit = 2;
  LockTable table(kLimit);
  constexpr Code kNoLocks = static_cast<Code>(ENOLCK);
  ASSERT_TRUE(table.set(kNode, write_lock(kAnn, 0, 9)));
  ASSERT_TRUE(table.set(kNode, write_lock(kBob, 20, 29)));
  EXPECT_EQ(code_of(table.set(kNode, write_lock(kCid, 40, 49))), kNoLocks);
  EXPECT_EQ(code_of(table.set(kNode, unlock(kAnn, 4, 5))), kNoLocks);
  EXPECT_EQ(code_of(table.set_flock(kNode, kAnn, LockType::kRead)), kNoLocks);
  Answer cid;
  EXPECT_EQ(table.set_or_wait(kNode, write_lock(kCid, 0, 0), cid.done()), 0U);
  ASSERT_TRUE(cid.result);
  EXPECT_EQ(code_of(*cid.result), kNoLocks);
  EXPECT_TRUE(table.set(kNode, unlock(kAnn, 5, 9)));
  EXPECT_EQ(table.counts().locks, kLimit);
}

TEST(FlockLocks, ShareExcludeConvertAndWait) {
  LockTable table;
  EXPECT_TRUE(table.set_flock(kNode, kAnn, LockType::kRead));
  EXPECT_TRUE(table.set_flock(kNode, kBob, LockType::kRead));
  EXPECT_TRUE(table.set(kNode, write_lock(kCid, 0, UINT64_MAX))) << "the two kinds do not meet";
  EXPECT_EQ(code_of(table.set_flock(kNode, kAnn, LockType::kWrite)), kAgain);
  EXPECT_TRUE(table.set_flock(kNode, kBob, LockType::kWrite)) << "Ann gave hers up by converting";
  Answer ann;
  ASSERT_NE(table.set_flock_or_wait(kNode, kAnn, LockType::kRead, ann.done()), 0U);
  table.release_flock(kNode, kBob);
  EXPECT_TRUE(ann.granted());
  EXPECT_TRUE(table.set_flock(kNode, kAnn, LockType::kUnlock));
  table.release_posix(kNode, kCid);
  EXPECT_EQ(table.counts().nodes, 0U);
}

// The same locks as an array: who holds each byte and how.
class ByteModel {
 public:
  static constexpr uint64_t kBytes = 24;
  static constexpr uint64_t kOwners = 4;

  bool set(const PosixLock& wanted) {
    for (uint64_t byte = wanted.first; byte <= wanted.last; ++byte)
      for (uint64_t other = 0; other < kOwners; ++other)
        if (other != wanted.owner && in_the_way(held_[byte][other], wanted.type)) return false;
    for (uint64_t byte = wanted.first; byte <= wanted.last; ++byte)
      held_[byte][wanted.owner] = wanted.type;
    return true;
  }
  void release(uint64_t owner) {
    for (auto& byte : held_) byte[owner] = LockType::kUnlock;
  }
  LockType at(uint64_t byte, uint64_t owner) const { return held_[byte][owner]; }
  size_t ranges() const {
    size_t count = 0;
    for (uint64_t owner = 0; owner < kOwners; ++owner)
      for (uint64_t byte = 0; byte < kBytes; ++byte)
        if (held_[byte][owner] != LockType::kUnlock &&
            (byte == 0 || held_[byte - 1][owner] != held_[byte][owner]))
          ++count;
    return count;
  }

 private:
  static bool in_the_way(LockType held, LockType wanted) {
    return held != LockType::kUnlock && wanted != LockType::kUnlock &&
           (held == LockType::kWrite || wanted == LockType::kWrite);
  }
  std::array<std::array<LockType, kOwners>, kBytes> held_{};
};

TEST(PosixLocks, AgreeWithAnArrayOfBytes) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    SCOPED_TRACE(seed);
    Random random(seed);
    LockTable table;
    ByteModel model;
    for (int step = 0; step < 1000; ++step) {
      SCOPED_TRACE(step);
      const uint64_t owner = random.below(ByteModel::kOwners);
      if (random.one_in(50)) {
        table.release_posix(kNode, owner);
        model.release(owner);
      } else {
        const uint64_t first = random.below(ByteModel::kBytes);
        const uint64_t last = first + random.below(ByteModel::kBytes - first);
        const auto wanted = lock(owner, static_cast<LockType>(random.below(3)), first, last);
        const bool in_the_way = table.test(kNode, wanted).has_value();
        const bool granted = table.set(kNode, wanted).has_value();
        ASSERT_EQ(granted, model.set(wanted));
        ASSERT_EQ(granted, !in_the_way);
      }
      ASSERT_EQ(table.counts().locks, model.ranges());
      for (uint64_t byte = 0; byte < ByteModel::kBytes; ++byte) {
        // An owner of none of the locks sees those of all others.
        const auto reader = table.test(kNode, read_lock(ByteModel::kOwners, byte, byte));
        const auto writer = table.test(kNode, write_lock(ByteModel::kOwners, byte, byte));
        bool any = false;
        bool any_writer = false;
        for (uint64_t other = 0; other < ByteModel::kOwners; ++other) {
          any |= model.at(byte, other) != LockType::kUnlock;
          any_writer |= model.at(byte, other) == LockType::kWrite;
        }
        ASSERT_EQ(writer.has_value(), any);
        ASSERT_EQ(reader.has_value(), any_writer);
      }
    }
  }
}

}  // namespace
}  // namespace larder::fs
