// What coroutines wait for besides I/O.  (See also io/async_semaphore.h and io/when_all.h.)
//
//   Completion<T>  one value, set once from any thread, awaited by one coroutine on a reactor.
//   Event          many coroutines wait until it is set; they resume on their own reactors.
//   AsyncMutex     mutual exclusion among coroutines, also of different reactors; fair; may be held
//                  across co_await.
//
// A coroutine always resumes through its reactor's queue, never inside set() or unlock(); so these
// may be called under any lock but may not be relied upon to have run anything.
#pragma once

#include <coroutine>
#include <memory>
#include <optional>
#include <utility>

#include "base/mutex.h"
#include "io/reactor.h"
#include "io/wait_queue.h"

namespace larder::io {

// Copyable handle to one shared value.  set() may come before or after the co_await; a second set()
// is ignored and returns false (so a time-out and an answer may race).
template <class T>
class Completion {
  struct State {
    Mutex mutex;
    std::optional<T> value GUARDED_BY(mutex);
    bool set GUARDED_BY(mutex) = false;
    Waiter* waiter GUARDED_BY(mutex) = nullptr;
  };

 public:
  Completion() : state_(std::make_shared<State>()) {}

  bool set(T value) const {
    Waiter* waiter = nullptr;
    {
      MutexLock lock(state_->mutex);
      if (std::exchange(state_->set, true)) return false;
      state_->value.emplace(std::move(value));
      waiter = std::exchange(state_->waiter, nullptr);
    }
    if (waiter != nullptr) waiter->resume();
    return true;
  }

  // Once only: the value is moved out.
  auto operator co_await() const noexcept {
    struct Awaiter : Waiter {
      explicit Awaiter(std::shared_ptr<State> state_in) : state(std::move(state_in)) {}
      bool await_ready() const noexcept { return false; }
      bool await_suspend(std::coroutine_handle<> self) {
        suspended(self);
        MutexLock lock(state->mutex);
        if (state->value.has_value()) return false;
        CHECK(!state->set && state->waiter == nullptr);  // awaited twice
        state->waiter = this;
        return true;
      }
      T await_resume() const {
        MutexLock lock(state->mutex);
        T value = std::move(*state->value);
        state->value.reset();
        return value;
      }
      std::shared_ptr<State> state;
    };
    return Awaiter(state_);
  }

 private:
  std::shared_ptr<State> state_;
};

class Event {
 public:
  // Wakes all waiters; later waits return at once.
  void set() {
    WaitQueue woken = take();
    woken.resume_all();
  }
  bool is_set() const {
    MutexLock lock(mutex_);
    return set_;
  }

  auto operator co_await() noexcept {
    struct Awaiter : Waiter {
      explicit Awaiter(Event& event_in) : event(event_in) {}
      bool await_ready() const noexcept { return event.is_set(); }
      bool await_suspend(std::coroutine_handle<> self) {
        suspended(self);
        MutexLock lock(event.mutex_);
        if (event.set_) return false;
        event.waiters_.push(*this);
        return true;
      }
      void await_resume() const noexcept {}
      Event& event;
    };
    return Awaiter(*this);
  }

 private:
  WaitQueue take() {
    MutexLock lock(mutex_);
    set_ = true;
    return std::move(waiters_);
  }

  mutable Mutex mutex_;
  bool set_ GUARDED_BY(mutex_) = false;
  WaitQueue waiters_ GUARDED_BY(mutex_);
};

class AsyncMutex {
 public:
  class [[nodiscard]] Guard {
   public:
    Guard() = default;
    explicit Guard(AsyncMutex* owner) : owner_(owner) {}
    Guard(Guard&& other) noexcept : owner_(std::exchange(other.owner_, nullptr)) {}
    Guard& operator=(Guard&& other) noexcept {
      if (this != &other) {
        unlock();
        owner_ = std::exchange(other.owner_, nullptr);
      }
      return *this;
    }
    ~Guard() { unlock(); }
    void unlock() {
      if (owner_ != nullptr) std::exchange(owner_, nullptr)->release();
    }

   private:
    AsyncMutex* owner_ = nullptr;
  };

  // co_await mutex.lock() gives a Guard.
  auto lock() noexcept {
    struct Awaiter : Waiter {
      explicit Awaiter(AsyncMutex& owner_in) : owner(owner_in) {}
      bool await_ready() const noexcept { return false; }
      bool await_suspend(std::coroutine_handle<> self) {
        suspended(self);
        MutexLock lock(owner.mutex_);
        if (!std::exchange(owner.held_, true)) return false;
        owner.waiters_.push(*this);
        return true;
      }
      Guard await_resume() const noexcept { return Guard(&owner); }
      AsyncMutex& owner;
    };
    return Awaiter(*this);
  }

 private:
  // The longest waiter gets the lock handed over: held_ stays true.
  void release() {
    Waiter* next = nullptr;
    {
      MutexLock lock(mutex_);
      next = waiters_.pop();
      if (next == nullptr) held_ = false;
    }
    if (next != nullptr) next->resume();
  }

  Mutex mutex_;
  bool held_ GUARDED_BY(mutex_) = false;
  WaitQueue waiters_ GUARDED_BY(mutex_);
};

}  // namespace larder::io
