#include "source/closer.h"

#include <system_error>
#include <thread>

#include "base/log.h"

namespace larder::source {

void Closer::close(CountedFd fd) {
  bool submitted = false;
  {
    MutexLock lock(mutex_);
    waiting_.push_back(std::move(fd));
    submitted =
        workers_ != nullptr && workers_->submit([self = shared_from_this()] { self->close_one(); });
  }
  if (!submitted) start_helper();
}

void Closer::detach_workers() {
  bool some_wait = false;
  {
    MutexLock lock(mutex_);
    workers_ = nullptr;
    some_wait = !waiting_.empty();
  }
  if (some_wait) start_helper();
}

bool Closer::close_one() {
  CountedFd closed;
  {
    MutexLock lock(mutex_);
    if (waiting_.empty()) return false;
    closed = std::move(waiting_.back());
    waiting_.pop_back();
  }
  // What close(2) reports was for fsync(2) to report; here nobody is left to be told.
  return true;
}

void Closer::start_helper() {
  {
    MutexLock lock(mutex_);
    if (helper_runs_) return;
    helper_runs_ = true;
  }
  const auto help = [](const std::shared_ptr<Closer>& self) {
    while (true) {
      while (self->close_one()) continue;
      MutexLock lock(self->mutex_);
      if (!self->waiting_.empty()) continue;
      self->helper_runs_ = false;
      return;
    }
  };
  try {
    std::thread(help, shared_from_this()).detach();
  } catch (const std::system_error&) {
    // The descriptors wait for the next close to try again.
    log::warning("source: no thread to close files on");
    MutexLock lock(mutex_);
    helper_runs_ = false;
  }
}

}  // namespace larder::source
