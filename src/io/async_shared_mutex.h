// AsyncSharedMutex: many coroutines share it, or one has it to itself; they may be of different
// reactors, and may hold it across co_await.
//
// Fair: who came first is served first, so those who share do not starve who wants it alone; a
// coroutine must not take it again while it holds it.  As with all of io/completion.h, a coroutine
// that waited resumes through its reactor's queue.  Thread-safe.
#pragma once

#include <coroutine>
#include <cstdint>
#include <utility>

#include "base/check.h"
#include "base/mutex.h"
#include "io/wait_queue.h"

namespace larder::io {

class AsyncSharedMutex {
 public:
  class [[nodiscard]] Guard {
   public:
    Guard() = default;
    explicit Guard(AsyncSharedMutex* owner) : owner_(owner) {}
    Guard(Guard&& other) noexcept : owner_(std::exchange(other.owner_, nullptr)) {}
    Guard& operator=(Guard&& other) noexcept {
      if (this != &other) {
        unlock();
        owner_ = std::exchange(other.owner_, nullptr);
      }
      return *this;
    }
    ~Guard() { unlock(); }
    explicit operator bool() const { return owner_ != nullptr; }
    void unlock() {
      if (owner_ != nullptr) std::exchange(owner_, nullptr)->release();
    }

   private:
    AsyncSharedMutex* owner_ = nullptr;
  };

  // co_await gives a Guard.
  auto lock() noexcept { return Awaiter(*this, true); }
  auto lock_shared() noexcept { return Awaiter(*this, false); }

 private:
  struct Awaiter : Waiter {
    Awaiter(AsyncSharedMutex& owner_in, bool exclusive_in)
        : owner(owner_in), exclusive(exclusive_in) {}
    bool await_ready() const noexcept { return false; }
    bool await_suspend(std::coroutine_handle<> self) {
      suspended(self);
      MutexLock lock(owner.mutex_);
      if (owner.waiters_.empty() && owner.take(exclusive)) return false;
      owner.waiters_.push(*this);
      return true;
    }
    Guard await_resume() const noexcept { return Guard(&owner); }
    AsyncSharedMutex& owner;
    const bool exclusive;
  };

  bool take(bool exclusive) REQUIRES(mutex_) {
    if (exclusive_ || (exclusive && shared_ > 0)) return false;
    if (exclusive)
      exclusive_ = true;
    else
      ++shared_;
    return true;
  }

  void release() {
    WaitQueue woken = give_back();
    woken.resume_all();
  }

  // Gives it to those in front who can have it together; these are to be resumed.
  WaitQueue give_back() {
    WaitQueue granted;
    MutexLock lock(mutex_);
    CHECK(exclusive_ || shared_ > 0);
    if (!std::exchange(exclusive_, false)) --shared_;
    while (!waiters_.empty() && take(static_cast<Awaiter&>(*waiters_.front()).exclusive))
      granted.push(*waiters_.pop());
    return granted;
  }

  Mutex mutex_;
  bool exclusive_ GUARDED_BY(mutex_) = false;
  uint32_t shared_ GUARDED_BY(mutex_) = 0;
  WaitQueue waiters_ GUARDED_BY(mutex_);
};

}  // namespace larder::io
