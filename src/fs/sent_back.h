// SentBack: who was told to look a name up again (kStale) when he opened a file, and has not come
// again.  The kernel does so once only for one open(2), so he must be let in then.
//
// Keeps the nodes in memory meanwhile: the kernel may forget a node's old inode before it asks for
// the fresh one, and a node that went and came again would not know which epoch that is.
//
// Invariants: at most kMax openers are noted; one whose time is over counts as gone.  Thread-safe;
// a leaf among the locks, but forget_expired() and clear() let go of nodes: call them without
// locks.
#pragma once

#include <sys/types.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/mutex.h"
#include "fs/node.h"

namespace larder::fs {

class SentBack {
 public:
  // He comes again within this time, unless he was killed or the name is gone.
  static constexpr Nanos kTimeMax = std::chrono::seconds(10);
  static constexpr size_t kMax = 1024;

  // will_be_cached: he cannot use passthrough.
  void add(Node& node, pid_t opener, bool will_be_cached, Nanos now) {
    MutexLock lock(mutex_);
    if (openers_.size() >= kMax) return;
    openers_.push_back({node.shared_from_this(), opener, will_be_cached, now + kTimeMax});
    count_.store(openers_.size());
  }
  bool contains(const Node& node, pid_t opener, Nanos now) const {
    return any([&](const Opener& who) {
      return who.node.get() == &node && who.opener == opener && now < who.until;
    });
  }
  // The node's newest kernel inode must not be opened in passthrough.
  bool keeps_cached(const Node& node, Nanos now) const {
    return any([&](const Opener& who) {
      return who.node.get() == &node && who.will_be_cached && now < who.until;
    });
  }
  // He came again; the caller holds the node.
  void remove(const Node& node, pid_t opener) {
    MutexLock lock(mutex_);
    const auto found = std::ranges::find_if(openers_, [&](const Opener& who) {
      return who.node.get() == &node && who.opener == opener;
    });
    if (found != openers_.end()) openers_.erase(found);
    count_.store(openers_.size());
  }
  void forget_expired(Nanos now) {
    if (count_.load() == 0) return;
    std::vector<Opener> gone;  // destroyed without the lock
    MutexLock lock(mutex_);
    const auto first = std::partition(openers_.begin(), openers_.end(),
                                      [&](const Opener& who) { return now < who.until; });
    gone.assign(std::make_move_iterator(first), std::make_move_iterator(openers_.end()));
    openers_.erase(first, openers_.end());
    count_.store(openers_.size());
  }
  void clear() { forget_expired(Nanos::max()); }

 private:
  struct Opener {
    std::shared_ptr<Node> node;
    pid_t opener = 0;
    bool will_be_cached = false;
    Nanos until{0};  // monotonic
  };
  template <class Condition>
  bool any(const Condition& condition) const {
    if (count_.load() == 0) return false;
    MutexLock lock(mutex_);
    return std::ranges::any_of(openers_, condition);
  }

  mutable Mutex mutex_;
  std::vector<Opener> openers_ GUARDED_BY(mutex_);
  std::atomic<size_t> count_{0};  // of openers_: nearly always none
};

}  // namespace larder::fs
