// The first error that makes the log unfit for more, kept for good.  Thread-safe.
#pragma once

#include <atomic>
#include <optional>

#include "base/error.h"
#include "base/log.h"
#include "base/mutex.h"

namespace larder::journal {

class StickyError {
 public:
  void set(const Error& error) {
    const MutexLock lock(mutex_);
    if (error_) return;
    error_ = error;
    is_set_.store(true, std::memory_order_release);
    log::error("the journal takes no more changes: {}", error.message());
  }
  std::optional<Error> get() const {
    if (!is_set_.load(std::memory_order_acquire)) return std::nullopt;
    const MutexLock lock(mutex_);
    return error_;
  }
  bool is_set() const { return is_set_.load(std::memory_order_acquire); }
  // kPoisoned when there is one.
  Result<void> check() const {
    if (!is_set_.load(std::memory_order_acquire)) [[likely]]
      return {};
    return fail(Code::kPoisoned, get()->message());
  }

 private:
  std::atomic<bool> is_set_{false};
  mutable Mutex mutex_;
  std::optional<Error> error_ GUARDED_BY(mutex_);
};

}  // namespace larder::journal
