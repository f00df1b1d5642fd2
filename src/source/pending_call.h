// One call of the source: the meeting point of the worker that runs it, the deadline that ends it,
// and the coroutine that waits for it.  Shared by all three; whoever comes last frees it.
//
//   queued -> running -> done        the worker's result is the answer
//      |         +-----> hung        given up while running: the worker's result is dropped when it
//      comes
//      +-------------> abandoned     given up in the queue: never runs
//
// Invariants: the completion is set exactly once, by who leaves queued or running; `work` is
// touched by the worker only, after its creation.
#pragma once

#include <atomic>
#include <cerrno>
#include <functional>
#include <memory>
#include <utility>

#include "base/error.h"
#include "base/failpoint.h"
#include "io/completion.h"
#include "source/breaker.h"
#include "source/call_kind.h"
#include "source/root.h"

namespace larder::source {

// Calls that were given up while a thread was in them, and whether the source answers at all.
// Shared, as such threads outlive everything.
struct HungCalls {
  std::atomic<int64_t> now{0};
  std::atomic<int64_t> recovered{0};
  // A patient call ran out and no call was answered since.
  std::atomic<bool> silent{false};
};

class PendingCall {
 public:
  explicit PendingCall(std::shared_ptr<HungCalls> hung) : hung_(std::move(hung)) {}
  virtual ~PendingCall() = default;
  PendingCall(const PendingCall&) = delete;
  PendingCall& operator=(const PendingCall&) = delete;

  // On a worker thread.
  virtual void run() = 0;
  // Answers the coroutine with this error unless it has its answer.
  void give_up(Code code) {
    // Counted before the worker can see that it is hung, and takes itself off again.
    hung_->now.fetch_add(1);
    Phase phase = Phase::kRunning;
    const bool was_running = phase_.compare_exchange_strong(phase, Phase::kHung);
    if (!was_running) {
      phase = Phase::kQueued;
      const bool was_queued = phase_.compare_exchange_strong(phase, Phase::kAbandoned);
      // Between the two attempts the worker may have started it.
      if (!was_queued && phase == Phase::kRunning &&
          phase_.compare_exchange_strong(phase, Phase::kHung))
        return answer(code);
      hung_->now.fetch_sub(1);
      if (!was_queued) return;
    }
    answer(code);
  }

 protected:
  virtual void answer(Code code) = 0;
  bool begin() {
    Phase phase = Phase::kQueued;
    return phase_.compare_exchange_strong(phase, Phase::kRunning);
  }
  // The source said something.
  void note_answer() { hung_->silent.store(false, std::memory_order_relaxed); }
  // False when the call was given up meanwhile.
  bool end() {
    Phase phase = Phase::kRunning;
    if (phase_.compare_exchange_strong(phase, Phase::kDone)) return true;
    hung_->now.fetch_sub(1);
    hung_->recovered.fetch_add(1);
    return false;
  }

 private:
  enum class Phase : uint8_t { kQueued, kRunning, kDone, kHung, kAbandoned };
  std::atomic<Phase> phase_{Phase::kQueued};
  std::shared_ptr<HungCalls> hung_;
};

// What a worker runs: owns all it touches.  One type for all calls of a result's: a coroutine of
// its own for each would be most of what there is to compile here.
template <class T>
using Work = std::move_only_function<Result<T>()>;

template <class T>
class Call final : public PendingCall {
 public:
  Call(CallKind kind, std::shared_ptr<HungCalls> hung, std::shared_ptr<const Root> root,
       Work<T> work)
      : PendingCall(std::move(hung)), kind_(kind), root_(std::move(root)), work_(std::move(work)) {}

  const io::Completion<Result<T>>& completion() const { return completion_; }

  void run() override {
    if (!begin()) return;
    // A result that comes too late is destroyed here, on the worker, with the descriptor it may
    // hold.
    Result<T> result = ask();
    if (result || fault_of(result.error().code()) == Fault::kNone) note_answer();
    if (end()) completion_.set(std::move(result));
  }

 private:
  Result<T> ask() {
    errno = EIO;
    if (failpoint::hit(info(kind_).failpoint)) return fail_errno("injected");
    Result<T> result = work_();
    if (!result) return fail(root_->explain(std::move(result).error()));
    return result;
  }
  void answer(Code code) override { completion_.set(fail(code, info(kind_).name)); }

  const CallKind kind_;
  const std::shared_ptr<const Root> root_;
  Work<T> work_;
  io::Completion<Result<T>> completion_;
};

}  // namespace larder::source
