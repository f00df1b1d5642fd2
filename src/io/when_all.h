// Several tasks at a time on the current reactor.
//
//   TaskGroup group;                            std::vector<Task<Result<size_t>>> tasks;
//   group.add(std::move(one));                  ...
//   group.add(std::move(other));                auto results = co_await when_all(std::move(tasks));
//   co_await group.wait();
//
// Nothing here bounds how many run: use io/async_semaphore.h inside the tasks.  Not thread-safe:
// all on one reactor.
#pragma once

#include <coroutine>
#include <cstddef>
#include <optional>
#include <utility>
#include <vector>

#include "base/check.h"
#include "io/detached.h"
#include "io/task.h"
#include "io/wait_queue.h"

namespace larder::io {

class TaskGroup {
 public:
  TaskGroup() = default;
  TaskGroup(const TaskGroup&) = delete;
  TaskGroup& operator=(const TaskGroup&) = delete;
  // All tasks must have ended: wait() first.
  ~TaskGroup() { CHECK(running_ == 0); }

  // Starts the task at once; comes back when it first waits for something, or has ended.
  void add(Task<void> task) {
    ++running_;
    run(this, std::move(task));
  }

  // co_await: until no added task runs.  One waiter at a time; tasks may be added again afterwards.
  auto wait() noexcept {
    struct Awaiter : Waiter {
      explicit Awaiter(TaskGroup& group_in) : group(group_in) {}
      bool await_ready() const noexcept { return group.running_ == 0; }
      void await_suspend(std::coroutine_handle<> self) {
        suspended(self);
        CHECK(group.waiter_ == nullptr);
        group.waiter_ = this;
      }
      void await_resume() const noexcept {}
      TaskGroup& group;
    };
    return Awaiter(*this);
  }

 private:
  static detail::Detached run(TaskGroup* group, Task<void> task) {
    {
      Task<void> running = std::move(task);
      co_await std::move(running);
    }  // what the task owned is gone before the group hears of its end
    group->ended();
  }

  void ended() {
    if (--running_ == 0 && waiter_ != nullptr) std::exchange(waiter_, nullptr)->resume();
  }

  size_t running_ = 0;
  Waiter* waiter_ = nullptr;
};

namespace detail {

template <class T>
Task<void> store_result(Task<T> task, std::optional<T>* slot) {
  T result = co_await std::move(task);
  slot->emplace(std::move(result));
}

}  // namespace detail

// Runs all tasks and gives their results in the same order.
template <class T>
Task<std::vector<T>> when_all(std::vector<Task<T>> tasks) {
  std::vector<std::optional<T>> slots(tasks.size());
  TaskGroup group;
  for (size_t i = 0; i < tasks.size(); ++i) {
    Task<void> stored = detail::store_result<T>(std::move(tasks[i]), &slots[i]);
    group.add(std::move(stored));
  }
  co_await group.wait();
  std::vector<T> results;
  results.reserve(slots.size());
  for (std::optional<T>& slot : slots) results.push_back(std::move(*slot));
  co_return results;
}

}  // namespace larder::io
