// SentBack: the openers that were told to look a name up again (kStale) and have not come again.
// The kernel does so once only for one open(2), so an opener must be let in when it comes again: to
// another inode of the same node, or, where the name led to another file, to the node it leads to.
// So that this is still the file when the opener comes, the look-up before that opens it already.
// Who came by no name (a file that is mounted itself, /proc/self/fd, a file handle) comes again to
// the same node without having looked anything up.
//
// Keeps the nodes in memory meanwhile: the kernel may forget a node's old inode before it asks for
// the fresh one, and a node that went and came again would not know which epoch that is.
//
// Invariants: at most kMax openers are noted; one whose time is over counts as gone.  Thread-safe;
// a leaf among the locks, but remove(), provide(), forget_expired() and clear() let go of nodes and
// files: call them without locks.
#pragma once

#include <sys/types.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/mutex.h"
#include "fs/node.h"

namespace larder::fs {

class SentBack {
 public:
  // An opener comes again within this time, unless it was killed or the name is gone.
  static constexpr Nanos kTimeMax = std::chrono::seconds(10);
  static constexpr size_t kMax = 1024;
  using Opened = std::shared_ptr<source::SourceFile>;

  // will_be_cached: the opener cannot use passthrough.  The name may as well have led to another
  // file than the node.
  void add(Node& node, pid_t opener, bool will_be_cached, Nanos now) {
    note({.node = node.shared_from_this(),
          .opener = opener,
          .will_be_cached = will_be_cached,
          .until = now + kTimeMax});
  }
  // One who asked for attributes, not to open: what it looks up need not be opened.
  void add_asker(Node& node, pid_t asker, Nanos now) {
    note({.node = node.shared_from_this(),
          .opener = asker,
          .opens = false,
          .until = now + kTimeMax});
  }
  // Whether the asker was sent back, and comes to this node now: again, or by the name that it has
  // looked up since.
  bool is_back(Node& node, pid_t asker, Nanos now) {
    if (empty()) return false;
    bool found = false;
    std::vector<std::shared_ptr<Node>> before;  // destroyed without the lock
    MutexLock lock(mutex_);
    for (Opener& known : openers_) {
      if (!known.is_awaited(asker, now)) continue;
      found = true;
      const bool comes_to_another = known.node.get() != &node && known.found.get() != &node;
      if (!known.opens && comes_to_another)
        before.push_back(std::exchange(known.found, node.shared_from_this()));
    }
    return found;
  }
  // Whether any opener is noted: nearly always none is.
  bool empty() const { return count_.load() == 0; }
  struct Return {
    bool has_looked_up = false;
    Opened opened;  // what was opened when it was found: this node's file, or null
  };
  // How an opener comes to the node again; nullopt: it was not sent back.
  std::optional<Return> find(const Node& node, pid_t opener, Nanos now) const {
    std::optional<Return> found;
    any([&](const Opener& known) {
      const bool is_found = known.found.get() == &node;
      if (!known.is_awaited(opener, now) || (!is_found && known.node.get() != &node)) return false;
      found = {known.found != nullptr, is_found ? known.opened : nullptr};
      return is_found;
    });
    return found;
  }
  // The next file that it looks up it opens: a thread opens one at a time.
  bool awaits(pid_t opener, Nanos now) const {
    return any([&](const Opener& known) { return known.opens && known.is_awaited(opener, now); });
  }
  // It has found this file, which is open for reading by `opened` (null: it could not be opened).
  void provide(pid_t opener, const std::shared_ptr<Node>& found, const Opened& opened) {
    std::vector<std::pair<std::shared_ptr<Node>, Opened>> before;  // destroyed without the lock
    MutexLock lock(mutex_);
    for (Opener& known : openers_) {
      if (known.opener != opener) continue;
      before.emplace_back(std::exchange(known.found, found), std::exchange(known.opened, opened));
    }
  }
  // The node's newest kernel inode must not be opened in passthrough.
  bool keeps_cached(const Node& node, Nanos now) const {
    return any([&](const Opener& known) {
      return known.node.get() == &node && known.will_be_cached && now < known.until;
    });
  }
  // The opener came again.
  void remove(pid_t opener) {
    forget_if([&](const Opener& known) { return known.opener == opener; });
  }
  void forget_expired(Nanos now) {
    if (empty()) return;
    forget_if([&](const Opener& known) { return now >= known.until; });
  }
  void clear() { forget_expired(Nanos::max()); }

 private:
  struct Opener {
    std::shared_ptr<Node> node = {};
    pid_t opener = 0;
    bool will_be_cached = false;
    bool opens = true;
    Nanos until{0};                    // monotonic
    std::shared_ptr<Node> found = {};  // null: it has not looked the name up yet
    Opened opened = {};
    bool is_awaited(pid_t pid, Nanos now) const { return opener == pid && now < until; }
  };
  void note(Opener opener) {
    MutexLock lock(mutex_);
    if (openers_.size() >= kMax) return;
    openers_.push_back(std::move(opener));
    count_.store(openers_.size());
  }
  template <class Condition>
  bool any(const Condition& condition) const {
    if (empty()) return false;
    MutexLock lock(mutex_);
    return std::ranges::any_of(openers_, condition);
  }
  template <class Condition>
  void forget_if(const Condition& condition) {
    std::vector<Opener> gone;  // destroyed without the lock
    MutexLock lock(mutex_);
    const auto first = std::partition(openers_.begin(), openers_.end(),
                                      [&](const Opener& known) { return !condition(known); });
    gone.assign(std::make_move_iterator(first), std::make_move_iterator(openers_.end()));
    openers_.erase(first, openers_.end());
    count_.store(openers_.size());
  }

  mutable Mutex mutex_;
  std::vector<Opener> openers_ GUARDED_BY(mutex_);
  std::atomic<size_t> count_{0};  // of openers_: nearly always none
};

}  // namespace larder::fs
