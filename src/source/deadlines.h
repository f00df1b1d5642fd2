// Calls under way, in the order of their deadlines.  As every call gets the same time, that is the
// order of their start: adding, removing and expiring cost O(1).  Thread-safe.
//
// Invariant: `entries_` is sorted by deadline; after close() it is empty.
#pragma once

#include <list>
#include <memory>
#include <optional>

#include "base/clock.h"
#include "base/mutex.h"
#include "source/pending_call.h"

namespace larder::source {

class Deadlines {
 public:
  struct Entry {
    const Nanos deadline;
    std::shared_ptr<PendingCall> call;  // null once taken
  };
  // Names an added call until it is removed; holds nothing alive.
  using Handle = std::list<Entry>::iterator;

  Deadlines(Nanos timeout, const Clock& clock) : timeout_(timeout), clock_(clock) {}

  // Empty once closed.
  std::optional<Handle> add(std::shared_ptr<PendingCall> call) {
    MutexLock lock(mutex_);
    if (closed_) return std::nullopt;
    entries_.push_back({clock_.monotonic() + timeout_, std::move(call)});
    return std::prev(entries_.end());
  }
  // Exactly once for each handle, also when the deadline has passed.
  void remove(Handle handle) {
    std::list<Entry> removed;  // freed after the lock is released
    MutexLock lock(mutex_);
    if (handle->call)
      removed.splice(removed.end(), entries_, handle);
    else
      removed.splice(removed.end(), overdue_, handle);
  }
  std::optional<Nanos> next() const {
    MutexLock lock(mutex_);
    if (entries_.empty()) return std::nullopt;
    return entries_.front().deadline;
  }
  // A call whose deadline has passed, or null; each is given out once.
  std::shared_ptr<PendingCall> take_overdue() {
    MutexLock lock(mutex_);
    if (entries_.empty() || clock_.monotonic() < entries_.front().deadline) return nullptr;
    return take_front();
  }
  // Takes no more calls.  Gives out the ones under way, one by one, then null.
  std::shared_ptr<PendingCall> close() {
    MutexLock lock(mutex_);
    closed_ = true;
    return entries_.empty() ? nullptr : take_front();
  }

 private:
  std::shared_ptr<PendingCall> take_front() REQUIRES(mutex_) {
    std::shared_ptr<PendingCall> call = std::move(entries_.front().call);
    overdue_.splice(overdue_.end(), entries_, entries_.begin());
    return call;
  }

  const Nanos timeout_;
  const Clock& clock_;
  mutable Mutex mutex_;
  std::list<Entry> entries_ GUARDED_BY(mutex_);
  std::list<Entry> overdue_ GUARDED_BY(mutex_);  // taken, their handles not yet removed
  bool closed_ GUARDED_BY(mutex_) = false;
};

}  // namespace larder::source
