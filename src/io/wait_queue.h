// WaitQueue: coroutines that wait, in order of arrival.  A Waiter lives in the frame of its
// suspended coroutine, so waiting allocates nothing.  Not thread-safe: guarded by its owner's
// mutex.
#pragma once

#include <coroutine>
#include <utility>

#include "base/check.h"
#include "io/reactor.h"

namespace larder::io {

struct Waiter {
  Waiter() = default;
  Waiter(const Waiter&) = delete;  // queues point at it
  Waiter& operator=(const Waiter&) = delete;

  // On the thread of the reactor the coroutine runs on.
  void suspended(std::coroutine_handle<> self) {
    handle = self;
    reactor = Reactor::current();
    CHECK(reactor != nullptr);
  }
  // From any thread, once, when no queue holds the waiter; it is gone afterwards.
  void resume() const {
    reactor->post([resumed = handle] { resumed.resume(); });
  }

  std::coroutine_handle<> handle;
  Reactor* reactor = nullptr;
  Waiter* next = nullptr;
};

class WaitQueue {
 public:
  WaitQueue() = default;
  WaitQueue(WaitQueue&& other) noexcept
      : head_(std::exchange(other.head_, nullptr)), tail_(std::exchange(other.tail_, nullptr)) {}
  WaitQueue& operator=(WaitQueue&&) = delete;
  ~WaitQueue() { CHECK(head_ == nullptr); }  // a waiter would wait for ever

  bool empty() const { return head_ == nullptr; }
  Waiter* front() const { return head_; }
  void push(Waiter& waiter) {
    waiter.next = nullptr;
    (tail_ != nullptr ? tail_->next : head_) = &waiter;
    tail_ = &waiter;
  }
  // Null when empty.
  Waiter* pop() {
    Waiter* const first = head_;
    if (first == nullptr) return nullptr;
    head_ = first->next;
    if (head_ == nullptr) tail_ = nullptr;
    return first;
  }
  // Not under the mutex: each is popped before it is resumed.
  void resume_all() {
    while (Waiter* const waiter = pop()) waiter->resume();
  }

 private:
  Waiter* head_ = nullptr;
  Waiter* tail_ = nullptr;
};

}  // namespace larder::io
