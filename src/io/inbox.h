// Inbox: the jobs other threads hand to a reactor, and what wakes it.
//
// The reactor's thread sleeps either on the condition variable (wait()) or, when its engine can
// wait for a descriptor only, on wake_descriptor().  A poster pays for a wake-up only when the
// reactor sleeps.
//
// Lifetime: a job may end the reactor before the poster's call has returned, so posters keep the
// inbox by shared_ptr.
#pragma once

#include <functional>
#include <optional>
#include <vector>

#include "base/clock.h"
#include "base/error.h"
#include "base/mutex.h"

namespace larder::io {

using Job = std::move_only_function<void()>;

class Inbox {
 public:
  Inbox() = default;
  ~Inbox();
  Inbox(const Inbox&) = delete;
  Inbox& operator=(const Inbox&) = delete;

  // Before the first post: wake by an eventfd(2) from now on.
  Result<void> open_wake_descriptor();
  int wake_descriptor() const { return wake_fd_; }

  // Thread-safe.  A job posted after close_if_stopping() gave true is destroyed unrun.
  void post(Job job);
  // Thread-safe.  Lets close_if_stopping() give true.
  void request_stop();

  // For the reactor's thread.
  // Moves the waiting jobs to the end of `into`, in order.
  void take(std::vector<Job>& into);
  // From here on the next post wakes.  False when there is something to do already.
  bool prepare_sleep();
  // Sleeps until there is something to do, or for `timeout`.
  void wait(std::optional<Nanos> timeout);
  // True, and the inbox is closed, when a stop was requested and no job waits.
  bool close_if_stopping();

 private:
  // True when the caller, after unlocking, must wake.
  bool rouse() REQUIRES(mutex_);
  void wake();

  Mutex mutex_;
  CondVar arrived_;
  std::vector<Job> jobs_ GUARDED_BY(mutex_);
  bool asleep_ GUARDED_BY(mutex_) = false;
  bool stop_requested_ GUARDED_BY(mutex_) = false;
  bool stop_seen_ GUARDED_BY(mutex_) = false;  // the reactor was told once
  bool closed_ GUARDED_BY(mutex_) = false;
  int wake_fd_ = -1;  // set before the inbox is shared
};

}  // namespace larder::io
