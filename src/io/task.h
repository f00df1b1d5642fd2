// Task<T>: a lazy coroutine that returns T to the coroutine that awaits it.
//
// A Task starts when awaited (or spawned, io/reactor.h).  One that ends without having waited for
// anything lets its awaiter go on at once; so a loop of any length uses constant stack, also in
// builds without tail calls (debug, sanitizers).  One that waited resumes its awaiter by symmetric
// transfer.  Nesting uses stack as nested calls do.
//
// Not thread-safe: a Task lives on one reactor.  One that has started must run to its end before it
// is destroyed: others hold its handle and its buffers.  No exception leaves a Task; errors are
// values (base/error.h).
//
// g++ 12 destroys some temporaries of a co_await expression twice: pass named values to coroutines,
// take parameters by value, and give lambdas that are coroutines no captures.
#pragma once

#include <coroutine>
#include <exception>
#include <optional>
#include <utility>

#include "base/check.h"

namespace larder::io {

template <class T>
class Task;

namespace detail {

enum class Phase : unsigned char {
  kLazy,      // not started
  kStarting,  // runs for the first time, inside its awaiter's await_suspend
  kWaiting,   // has been suspended; its awaiter too
};

struct FinalAwaiter {
  bool await_ready() const noexcept { return false; }
  template <class Promise>
  std::coroutine_handle<> await_suspend(std::coroutine_handle<Promise> self) const noexcept {
    // While starting, the awaiter is on the stack below and goes on when we return.
    if (self.promise().phase == Phase::kStarting) return std::noop_coroutine();
    return self.promise().continuation;
  }
  void await_resume() const noexcept {}
};

struct PromiseBase {
  std::coroutine_handle<> continuation = std::noop_coroutine();
  Phase phase = Phase::kLazy;
  std::suspend_always initial_suspend() const noexcept { return {}; }
  FinalAwaiter final_suspend() const noexcept { return {}; }
  [[noreturn]] void unhandled_exception() noexcept { std::terminate(); }
};

template <class T>
struct Promise : PromiseBase {
  std::optional<T> value;
  Task<T> get_return_object() noexcept;
  template <class U = T>
  void return_value(U&& result) {
    value.emplace(std::forward<U>(result));
  }
  T take() {
    CHECK(value.has_value());
    return std::move(*value);
  }
};

template <>
struct Promise<void> : PromiseBase {
  Task<void> get_return_object() noexcept;
  void return_void() const noexcept {}
  void take() const noexcept {}
};

}  // namespace detail

template <class T = void>
class [[nodiscard]] Task {
 public:
  using promise_type = detail::Promise<T>;
  using Handle = std::coroutine_handle<promise_type>;

  Task() = default;
  explicit Task(Handle handle) : handle_(handle) {}
  Task(Task&& other) noexcept : handle_(std::exchange(other.handle_, {})) {}
  Task& operator=(Task&& other) noexcept {
    if (this != &other) {
      reset();
      handle_ = std::exchange(other.handle_, {});
    }
    return *this;
  }
  ~Task() { reset(); }

  auto operator co_await() && noexcept {
    struct Awaiter {
      Handle handle;
      bool await_ready() const noexcept { return false; }
      // False: the task has ended, the awaiter goes on.
      bool await_suspend(std::coroutine_handle<> awaiting) const noexcept {
        auto& promise = handle.promise();
        promise.continuation = awaiting;
        promise.phase = detail::Phase::kStarting;
        handle.resume();
        if (handle.done()) return false;
        promise.phase = detail::Phase::kWaiting;
        return true;
      }
      T await_resume() const { return handle.promise().take(); }
    };
    CHECK(handle_ && handle_.promise().phase == detail::Phase::kLazy);
    return Awaiter{handle_};
  }

 private:
  void reset() {
    if (!handle_) return;
    CHECK(handle_.promise().phase == detail::Phase::kLazy || handle_.done());
    std::exchange(handle_, {}).destroy();
  }
  Handle handle_;
};

namespace detail {

template <class T>
Task<T> Promise<T>::get_return_object() noexcept {
  return Task<T>(std::coroutine_handle<Promise>::from_promise(*this));
}

inline Task<void> Promise<void>::get_return_object() noexcept {
  return Task<void>(std::coroutine_handle<Promise>::from_promise(*this));
}

}  // namespace detail
}  // namespace larder::io
