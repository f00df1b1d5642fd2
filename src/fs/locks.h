// Advisory locks: POSIX byte ranges (fcntl) and whole files (flock), keyed by node.
//
// The kernel sends every lock of every open here, because one node may have two kernel inodes at a
// time (kernel_port.h), which the kernel's own tables would take for two files.
//
// As Linux has it: a POSIX lock belongs to an owner (a process), ranges split and merge, a new type
// replaces the old one; waiters are granted in the order in which they came, but a request that
// conflicts with no lock held is granted at once even if others wait; EDEADLK when waiting would
// close a circle of owners.  A flock lock belongs to an open file; changing its type gives the old
// one up first.
//
// Thread-safe; nothing blocks: a waiter is a callback, called once, on the thread that made the
// grant possible, with no lock of the table held.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <set>
#include <unordered_map>
#include <vector>

#include "base/error.h"
#include "base/ids.h"
#include "base/mutex.h"

namespace larder::fs {

enum class LockType { kUnlock, kRead, kWrite };

struct PosixLock {
  uint64_t first = 0;
  uint64_t last = 0;  // inclusive
  LockType type = LockType::kUnlock;
  uint64_t owner = 0;
  pid_t pid = 0;  // shown to those who ask who is in the way
};

class LockTable {
 public:
  static constexpr size_t kLocksMax = 1 << 20;
  // kCancelled when cancelled.
  using Done = std::move_only_function<void(Result<void>)>;
  // Names a waiter; 0 when nothing waits (Done has been called).
  using Ticket = uint64_t;

  // At most locks_max locks and waiters together; ENOLCK beyond that.
  explicit LockTable(size_t locks_max = kLocksMax) : locks_max_(locks_max) {}
  // Nobody may be waiting.
  ~LockTable();

  // The first lock of another owner in the way of `wanted`.
  std::optional<PosixLock> test(NodeId node, const PosixLock& wanted) const;
  // EAGAIN when another owner's lock is in the way.
  Result<void> set(NodeId node, const PosixLock& wanted);
  Ticket set_or_wait(NodeId node, const PosixLock& wanted, Done done);
  // All of the owner's POSIX locks on the node, as the close of any of its descriptors does.
  void release_posix(NodeId node, uint64_t owner);

  Result<void> set_flock(NodeId node, uint64_t owner, LockType type);
  Ticket set_flock_or_wait(NodeId node, uint64_t owner, LockType type, Done done);
  void release_flock(NodeId node, uint64_t owner);

  // Nothing happens when the waiter has been answered already.
  void cancel(Ticket ticket);
  // Cancels all waiters, and from here on nobody waits: who would is told kCancelled.
  void close();

  struct Counts {
    size_t nodes = 0;
    size_t locks = 0;
    size_t waiters = 0;
  };
  Counts counts() const;

 private:
  struct Waiter {
    Ticket ticket;
    bool flock;
    PosixLock wanted;
    Done done;
  };
  struct Wait {
    NodeId node;
    uint64_t owner;
    bool flock;
  };
  struct Flock {
    uint64_t owner;
    LockType type;
  };
  // Of one owner, ranges do not overlap and equal neighbours are merged.
  struct Node {
    std::vector<PosixLock> posix;
    std::vector<Flock> flocks;
    std::deque<Waiter> waiters;
  };
  // Callbacks to run when the mutex is free again.
  using Answers = std::vector<std::pair<Done, Result<void>>>;

  Ticket submit(NodeId node, bool flock, const PosixLock& wanted, Done done);
  Result<void> try_now(NodeId node, bool flock, const PosixLock& wanted, Answers& answers)
      REQUIRES(mutex_);
  Result<void> apply_posix(Node& node, const PosixLock& wanted) REQUIRES(mutex_);
  Result<void> apply_flock(Node& node, const PosixLock& wanted) REQUIRES(mutex_);
  void drop_flock(Node& node, uint64_t owner) REQUIRES(mutex_);
  bool would_deadlock(NodeId node, const PosixLock& wanted) const REQUIRES(mutex_);
  bool leads_to(uint64_t from, uint64_t owner, std::set<uint64_t>& seen) const REQUIRES(mutex_);
  // Grants what can be granted, in order, and forgets the node when nothing is left of it.
  void settle(NodeId node, Answers& answers) REQUIRES(mutex_);
  // One pass over the waiters; whether one was answered.
  bool grant_some(Node& node, Answers& answers) REQUIRES(mutex_);
  bool full() const REQUIRES(mutex_) { return locks_ + waiting_ >= locks_max_; }
  static void run(Answers& answers);

  const size_t locks_max_;
  mutable Mutex mutex_;
  std::unordered_map<NodeId, Node> nodes_ GUARDED_BY(mutex_);
  bool closed_ GUARDED_BY(mutex_) = false;
  size_t locks_ GUARDED_BY(mutex_) = 0;
  size_t waiting_ GUARDED_BY(mutex_) = 0;
  Ticket next_ticket_ GUARDED_BY(mutex_) = 1;
  std::unordered_map<Ticket, Wait> tickets_ GUARDED_BY(mutex_);
  // nodes_.size(), so that a close need not take the mutex when nobody locks anything.
  std::atomic<size_t> node_count_{0};
};

}  // namespace larder::fs
