// AsyncSemaphore: bounds what coroutines, also of different reactors, have under way at a time.
//
// Counts units of anything (operations, bytes).  Fair: whoever came first is served first, so a
// large request is not starved by small ones.  Thread-safe.
#pragma once

#include <coroutine>
#include <cstdint>
#include <utility>

#include "base/check.h"
#include "base/mutex.h"
#include "io/wait_queue.h"

namespace larder::io {

class AsyncSemaphore {
 public:
  // Holds units until it is destroyed.  Must not outlive the semaphore.
  class [[nodiscard]] Permit {
   public:
    Permit() = default;
    Permit(AsyncSemaphore* owner, uint64_t units) : owner_(owner), units_(units) {}
    Permit(Permit&& other) noexcept
        : owner_(std::exchange(other.owner_, nullptr)), units_(other.units_) {}
    Permit& operator=(Permit&& other) noexcept {
      if (this != &other) {
        release();
        owner_ = std::exchange(other.owner_, nullptr);
        units_ = other.units_;
      }
      return *this;
    }
    ~Permit() { release(); }
    explicit operator bool() const { return owner_ != nullptr; }
    void release() {
      if (owner_ != nullptr) std::exchange(owner_, nullptr)->give_back(units_);
    }

   private:
    AsyncSemaphore* owner_ = nullptr;
    uint64_t units_ = 0;
  };

  explicit AsyncSemaphore(uint64_t units) : units_max_(units), available_(units) {
    CHECK(units > 0);
  }

  // co_await gives a Permit.  More units than there are at all are taken as all there are.
  auto acquire(uint64_t units = 1) noexcept {
    return Awaiter(*this, units < units_max_ ? units : units_max_);
  }
  // Empty when it would have to wait.
  Permit try_acquire(uint64_t units = 1) {
    MutexLock lock(mutex_);
    if (!take(units)) return {};
    return {this, units};
  }
  uint64_t available() const {
    MutexLock lock(mutex_);
    return available_;
  }

 private:
  struct Awaiter : Waiter {
    Awaiter(AsyncSemaphore& owner_in, uint64_t units_in) : owner(owner_in), units(units_in) {}
    bool await_ready() const noexcept { return false; }
    bool await_suspend(std::coroutine_handle<> self) {
      suspended(self);
      MutexLock lock(owner.mutex_);
      if (owner.take(units)) return false;
      owner.waiters_.push(*this);
      return true;
    }
    Permit await_resume() const noexcept { return {&owner, units}; }
    AsyncSemaphore& owner;
    const uint64_t units;
  };

  bool take(uint64_t units) REQUIRES(mutex_) {
    if (!waiters_.empty() || units > available_) return false;
    available_ -= units;
    return true;
  }

  void give_back(uint64_t units) {
    WaitQueue woken = grant(units);
    woken.resume_all();
  }

  // Gives units back, and to those in front as far as they go; these are to be resumed.
  WaitQueue grant(uint64_t units) {
    WaitQueue granted;
    MutexLock lock(mutex_);
    available_ += units;
    CHECK(available_ <= units_max_);
    while (!waiters_.empty()) {
      auto& first = static_cast<Awaiter&>(*waiters_.front());
      if (first.units > available_) break;
      available_ -= first.units;
      granted.push(*waiters_.pop());
    }
    return granted;
  }

  const uint64_t units_max_;
  mutable Mutex mutex_;
  uint64_t available_ GUARDED_BY(mutex_);
  WaitQueue waiters_ GUARDED_BY(mutex_);
};

}  // namespace larder::io
