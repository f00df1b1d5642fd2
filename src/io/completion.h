// What coroutines wait for besides I/O.
//
//   Completion<T>  one value, set once from any thread, awaited by one coroutine on a reactor.
//   AsyncMutex     mutual exclusion among coroutines, also of different reactors; fair; may be held
//                  across co_await.
//   Event          many coroutines wait until it is set; they resume on their own reactors.
#pragma once

#include <coroutine>
#include <deque>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "base/mutex.h"
#include "io/reactor.h"

namespace larder::io {

// Copyable handle to one shared value.  set() may come before or after the co_await; a second set() is
// ignored and returns false (so a time-out and an answer may race).
template <class T>
class Completion {
 public:
  Completion() : state_(std::make_shared<State>()) {}

  bool set(T value) const {
    std::coroutine_handle<> waiter;
    Reactor* reactor = nullptr;
    {
      MutexLock lock(state_->mutex);
      if (state_->value.has_value() || state_->taken) return false;
      state_->value.emplace(std::move(value));
      waiter = std::exchange(state_->waiter, {});
      reactor = state_->reactor;
    }
    if (waiter) reactor->post([waiter] { waiter.resume(); });
    return true;
  }

  auto operator co_await() const noexcept {
    struct Awaiter {
      std::shared_ptr<State> state;
      bool await_ready() const noexcept { return false; }
      bool await_suspend(std::coroutine_handle<> self) const {
        MutexLock lock(state->mutex);
        if (state->value.has_value()) return false;
        state->reactor = Reactor::current();
        CHECK(state->reactor != nullptr);
        state->waiter = self;
        return true;
      }
      T await_resume() const {
        MutexLock lock(state->mutex);
        state->taken = true;
        T value = std::move(*state->value);
        state->value.reset();
        return value;
      }
    };
    return Awaiter{state_};
  }

 private:
  struct State {
    Mutex mutex;
    std::optional<T> value GUARDED_BY(mutex);
    bool taken GUARDED_BY(mutex) = false;
    std::coroutine_handle<> waiter GUARDED_BY(mutex);
    Reactor* reactor GUARDED_BY(mutex) = nullptr;
  };
  std::shared_ptr<State> state_;
};

class Event {
 public:
  // Wakes all waiters; later waits return at once.
  void set() {
    std::vector<Waiter> waiters;
    {
      MutexLock lock(mutex_);
      set_ = true;
      waiters.swap(waiters_);
    }
    for (const Waiter& waiter : waiters)
      waiter.reactor->post([handle = waiter.handle] { handle.resume(); });
  }
  bool is_set() const {
    MutexLock lock(mutex_);
    return set_;
  }

  auto operator co_await() noexcept {
    struct Awaiter {
      Event& event;
      bool await_ready() const noexcept { return false; }
      bool await_suspend(std::coroutine_handle<> self) const {
        MutexLock lock(event.mutex_);
        if (event.set_) return false;
        event.waiters_.push_back({self, Reactor::current()});
        return true;
      }
      void await_resume() const noexcept {}
    };
    return Awaiter{*this};
  }

 private:
  struct Waiter {
    std::coroutine_handle<> handle;
    Reactor* reactor;
  };
  mutable Mutex mutex_;
  bool set_ GUARDED_BY(mutex_) = false;
  std::vector<Waiter> waiters_ GUARDED_BY(mutex_);
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
    struct Awaiter {
      AsyncMutex& owner;
      bool await_ready() const noexcept { return false; }
      bool await_suspend(std::coroutine_handle<> self) const {
        MutexLock lock(owner.mutex_);
        if (!owner.held_) {
          owner.held_ = true;
          return false;
        }
        owner.waiters_.push_back({self, Reactor::current()});
        return true;
      }
      Guard await_resume() const noexcept { return Guard(&owner); }
    };
    return Awaiter{*this};
  }

 private:
  void release() {
    Waiter next{};
    {
      MutexLock lock(mutex_);
      if (waiters_.empty()) {
        held_ = false;
        return;
      }
      next = waiters_.front();  // held_ stays true: the lock is handed over
      waiters_.pop_front();
    }
    next.reactor->post([handle = next.handle] { handle.resume(); });
  }

  struct Waiter {
    std::coroutine_handle<> handle;
    Reactor* reactor;
  };
  Mutex mutex_;
  bool held_ GUARDED_BY(mutex_) = false;
  std::deque<Waiter> waiters_ GUARDED_BY(mutex_);
};

}  // namespace larder::io
