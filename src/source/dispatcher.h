// Sends blocking calls to worker threads and answers in time, whatever the threads do.
//
// A call gets an answer exactly once: the worker's result, kTimedOut when its deadline passes (time
// spent in the queue counts), kLimit when the queue is full, kSourceDown when the breaker is open,
// kCancelled after stop(). What a worker touches is owned by the call itself, so a hung thread may
// come back at any time, also after the dispatcher has gone.
//
// One watchdog thread ends overdue calls, sends probes while the breaker is open, and tells of its
// changes. Probes run on threads of their own, as all workers may hang; so may a few probes.  The
// thread sleeps while no call is under way and the breaker is closed.
//
// Thread-safe.
#pragma once

#include <array>
#include <atomic>
#include <functional>
#include <memory>
#include <thread>

#include "base/clock.h"
#include "base/metrics.h"
#include "base/mutex.h"
#include "io/worker_pool.h"
#include "source/breaker.h"
#include "source/call_kind.h"
#include "source/closer.h"
#include "source/deadlines.h"
#include "source/pending_call.h"
#include "source/root.h"
#include "source/source.h"

namespace larder::source {

// One call's figures, taken on the coroutine's side: the Registry need not outlive a hung thread.
class CallMetrics {
 public:
  explicit CallMetrics(Registry& registry);
  void record(CallKind kind, Nanos duration, const Error* error);
  Gauge& in_flight() { return in_flight_; }

 private:
  std::array<Counter*, kCallKinds> calls_;
  std::array<Counter*, kCallKinds> errors_;
  Counter& timeouts_;
  Gauge& in_flight_;
  Histogram& metadata_latency_;
  Histogram& data_latency_;
};

class Dispatcher {
 public:
  Dispatcher(const SourceOptions& options, std::shared_ptr<Root> root, Registry& registry,
             const Clock& clock);
  // Stops.
  ~Dispatcher();
  Dispatcher(const Dispatcher&) = delete;
  Dispatcher& operator=(const Dispatcher&) = delete;

  // Runs `work` on a worker thread.
  template <class T>
  static Outcome<T> call(std::shared_ptr<Dispatcher> self, CallKind kind, Work<T> work,
                         Wait wait = Wait::kForAnswer);

  // Reaches the root for the first time, blocking for at most the time-out.  When it does not
  // answer the breaker opens; an error is one that waiting does not cure (no such directory).
  Result<void> attach_root();
  // Answers all calls under way with kCancelled; joins the threads that come back soon. Idempotent.
  void stop();

  bool is_up() const { return breaker_.admits(); }
  void on_state_change(std::function<void(bool up)> notify);
  const std::shared_ptr<Closer>& closer() const { return closer_; }
  DescriptorLimit* descriptors() const { return descriptors_; }  // null: no limit

 private:
  class Probe;
  std::optional<Deadlines::Handle> submit(io::WorkerPool& workers, Deadlines& deadlines,
                                          const std::shared_ptr<PendingCall>& call);
  void finish(CallKind kind, Nanos start, const Error* error, Wait wait);
  // While the source is silent only now and then one patient call is let through, to see.
  bool admits_patient_call();
  void watch();
  void send_probe();
  void collect_probe();
  void tell_change();
  void sleep_until_due();
  void wake_watchdog();
  void register_gauges(Registry& registry);

  const Clock& clock_;
  const std::shared_ptr<Root> root_;
  const std::shared_ptr<HungCalls> hung_ = std::make_shared<HungCalls>();
  CallMetrics metrics_;
  Breaker breaker_;
  Gauge& breaker_state_;
  Deadlines deadlines_;
  Deadlines patient_deadlines_;
  std::atomic<int64_t> tried_at_ns_{0};  // the last patient call let through while silent
  io::WorkerPool workers_;
  io::WorkerPool probers_;
  const std::shared_ptr<Closer> closer_;
  DescriptorLimit* const descriptors_;

  Mutex mutex_;
  CondVar wake_;
  bool woken_ GUARDED_BY(mutex_) = false;
  Nanos sleeps_until_ GUARDED_BY(mutex_){0};  // 0 while the watchdog is awake
  bool stopping_ GUARDED_BY(mutex_) = false;
  std::function<void(bool up)> notify_ GUARDED_BY(mutex_);
  // The watchdog's own.
  bool told_up_ = true;
  std::shared_ptr<Probe> probe_;
  std::optional<Deadlines::Handle> probe_handle_;
  std::thread watchdog_;
};

template <class T>
Outcome<T> Dispatcher::call(std::shared_ptr<Dispatcher> self, CallKind kind, Work<T> work,
                            Wait wait) {
  if (!self->breaker_.admits()) co_return fail(Code::kSourceDown, info(kind).name);
  const bool patient = wait == Wait::kPatiently;
  if (patient && !self->admits_patient_call()) co_return fail(Code::kSourceDown, info(kind).name);
  const GaugeHold in_flight(self->metrics_.in_flight());
  const Nanos start = self->clock_.monotonic();
  const auto pending = std::make_shared<Call<T>>(kind, self->hung_, self->root_, std::move(work));
  const io::Completion<Result<T>> completion = pending->completion();
  Deadlines& deadlines = patient ? self->patient_deadlines_ : self->deadlines_;
  const auto handle = self->submit(self->workers_, deadlines, pending);
  Result<T> result = co_await completion;
  if (handle) deadlines.remove(*handle);
  self->finish(kind, start, result ? nullptr : &result.error(), wait);
  co_return result;
}

}  // namespace larder::source
