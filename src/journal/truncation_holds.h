// TruncationHolds: who reads the log from an address on and needs the segments from there to stay.
#pragma once

#include <algorithm>
#include <cstdint>
#include <set>

#include "base/mutex.h"
#include "journal/log.h"

namespace larder::journal {

// Thread-safe.
class TruncationHolds {
 public:
  explicit TruncationHolds(const Log& log) : log_(log) {}

  // Keeps all that counts now for as long as it lives.
  class Hold {
   public:
    explicit Hold(TruncationHolds& holds) : holds_(holds) {
      const MutexLock lock(holds_.mutex_);
      begin_ = holds_.log_.begin();
      holds_.held_.insert(begin_);
    }
    ~Hold() {
      const MutexLock lock(holds_.mutex_);
      holds_.held_.extract(begin_);
    }
    Hold(const Hold&) = delete;
    Hold& operator=(const Hold&) = delete;

    // The log's begin when the hold was taken.
    uint64_t begin() const { return begin_; }

   private:
    TruncationHolds& holds_;
    uint64_t begin_ = 0;
  };

  // What may be removed of the log below `limit`, which is not above the log's begin: holds taken
  // from now on are not below it.
  uint64_t removable_below(uint64_t limit) const {
    const MutexLock lock(mutex_);
    return held_.empty() ? limit : std::min(limit, *held_.begin());
  }

 private:
  const Log& log_;
  mutable Mutex mutex_;
  std::multiset<uint64_t> held_ GUARDED_BY(mutex_);
};

}  // namespace larder::journal
