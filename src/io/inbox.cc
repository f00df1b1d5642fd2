#include "io/inbox.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <iterator>
#include <utility>

#include "base/check.h"

namespace larder::io {

Inbox::~Inbox() {
  if (wake_fd_ >= 0) ::close(wake_fd_);
}

Result<void> Inbox::open_wake_descriptor() {
  CHECK(wake_fd_ < 0);
  wake_fd_ = ::eventfd(0, EFD_CLOEXEC);
  if (wake_fd_ < 0) return fail_errno("eventfd");
  return {};
}

bool Inbox::rouse() {
  return std::exchange(asleep_, false);
}

void Inbox::wake() {
  if (wake_fd_ < 0) {
    arrived_.notify_one();
    return;
  }
  // Cannot block: the counter is far from its limit, since each wake-up is read.
  CHECK(::eventfd_write(wake_fd_, 1) == 0);
}

void Inbox::post(Job job) {
  {
    MutexLock lock(mutex_);
    if (closed_) return;
    jobs_.push_back(std::move(job));
    if (!rouse()) return;
  }
  wake();
}

void Inbox::request_stop() {
  {
    MutexLock lock(mutex_);
    stop_requested_ = true;
    if (!rouse()) return;
  }
  wake();
}

void Inbox::take(std::vector<Job>& into) {
  MutexLock lock(mutex_);
  asleep_ = false;
  if (into.empty()) {
    into.swap(jobs_);  // the two vectors trade their memory: no allocation in the long run
    return;
  }
  into.insert(into.end(), std::make_move_iterator(jobs_.begin()),
              std::make_move_iterator(jobs_.end()));
  jobs_.clear();
}

bool Inbox::prepare_sleep() {
  MutexLock lock(mutex_);
  // The reactor must look at a stop once; while it waits for its coroutines it may sleep.
  if (!jobs_.empty() || (stop_requested_ && !std::exchange(stop_seen_, true))) return false;
  asleep_ = true;
  return true;
}

void Inbox::wait(std::optional<Nanos> timeout) {
  if (!prepare_sleep()) return;
  MutexLock lock(mutex_);
  // asleep_ is cleared by whoever has something to do for us.
  while (asleep_) {
    if (!timeout) {
      arrived_.wait(mutex_);
    } else if (!arrived_.wait_for(mutex_, *timeout)) {
      return;
    }
  }
}

bool Inbox::close_if_stopping() {
  MutexLock lock(mutex_);
  if (!stop_requested_ || !jobs_.empty()) return false;
  closed_ = true;
  return true;
}

}  // namespace larder::io
