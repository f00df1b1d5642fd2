// Activity: whether the mount is in use, so that background work that touches the disk can wait
// while it is not.
//
// note() costs one relaxed load as long as nobody has asked since the last one.  Thread-safe.
#pragma once

#include <atomic>
#include <functional>

#include "base/clock.h"

namespace larder::cache {

class Activity {
 public:
  // Still in use so long after the last request.
  static constexpr Nanos kLinger = std::chrono::minutes(1);

  explicit Activity(const Clock& clock) : clock_(clock), seen_at_(clock.monotonic()) {}

  // Called when the mount is used again after lately() had to say no.  To be set before the first
  // note().
  void on_return(std::function<void()> call) { returned_ = std::move(call); }
  // A request has come.
  void note() {
    if (noted_.load(std::memory_order_relaxed)) return;
    if (!noted_.exchange(true) && is_awaited_.exchange(false) && returned_) returned_();
  }
  // Whether a request came within kLinger (as seen at the calls of this; the mount counts as in use
  // at first).  One caller at a time.
  bool lately() {
    if (noted_.exchange(false)) seen_at_ = clock_.monotonic();
    if (clock_.monotonic() - seen_at_ < kLinger) return true;
    is_awaited_.store(true);
    if (!noted_.load()) return false;
    is_awaited_.store(false);  // one that came in between
    return true;
  }

 private:
  const Clock& clock_;
  Nanos seen_at_;
  std::function<void()> returned_;
  std::atomic<bool> noted_{false};
  std::atomic<bool> is_awaited_{false};
};

}  // namespace larder::cache
