// Invariants, all on the reactor's thread: in_flight_ <= depth_max, and operations wait in waiting_
// only while in_flight_ == depth_max; running_ counts spawned coroutines that have not ended, and
// the thread ends only at 0.
#include "io/reactor.h"

#include <algorithm>
#include <array>
#include <future>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/log.h"
#include "base/mutex.h"
#include "io/detached.h"
#include "io/engine.h"
#include "io/inbox.h"
#include "io/ring_engine.h"
#include "io/thread.h"
#include "io/thread_engine.h"

namespace larder::io {
namespace {

constexpr uint32_t kDepthLimit = 4096;  // of depth_max: queues in the kernel are sized for it

// Of one turn: what adds it to the time of day must not overflow.
constexpr Nanos kSleepMax = std::chrono::hours(1);

thread_local Reactor* t_current = nullptr;

struct ReactorMetrics {
  ReactorMetrics(Registry& registry, const std::string& name)
      : started{&operations(registry, name, "read"), &operations(registry, name, "write"),
                &operations(registry, name, "sync")},
        failed(registry.counter("larder_io_errors_total", "Local I/O operations that failed",
                                {{"reactor", name}})),
        in_flight(registry.gauge("larder_io_in_flight_operations",
                                 "Local I/O operations in the engine", {{"reactor", name}})),
        waiting(registry.gauge("larder_io_queued_operations",
                               "Local I/O operations that wait for room in the engine",
                               {{"reactor", name}})),
        uring(registry.gauge("larder_io_uring", "1: local I/O goes through io_uring, 0: threads",
                             {{"reactor", name}})),
        latency(registry.histogram("larder_io_operation_seconds",
                                   "Time of a local I/O operation, its wait in the queue included",
                                   {{"reactor", name}})) {}

  static Counter& operations(Registry& registry, const std::string& name, const char* kind) {
    return registry.counter("larder_io_operations_total", "Local I/O operations begun",
                            {{"reactor", name}, {"kind", kind}});
  }

  std::array<Counter*, Operation::kKinds> started;  // by Operation::Kind
  Counter& failed;
  Gauge& in_flight;
  Gauge& waiting;
  Gauge& uring;
  Histogram& latency;
};

struct Timer {
  Nanos end;
  uint64_t sequence;  // equal ends: first come, first served
  std::coroutine_handle<> waiter;

  // For a heap with the earliest in front.
  friend bool operator<(const Timer& a, const Timer& b) {
    return a.end != b.end ? a.end > b.end : a.sequence > b.sequence;
  }
};

class LoopReactor final : public Reactor, public OperationSink {
 public:
  LoopReactor(ReactorOptions options, Registry& registry)
      : options_(std::move(options)), metrics_(registry, options_.name) {}
  ~LoopReactor() override { stop(); }

  // Returns when the thread runs with its engine.
  Result<void> launch();

  void post(Job job) override;
  void stop() override;

  Task<Result<size_t>> read(File& file, std::span<std::byte> into, uint64_t offset) override;
  Task<Result<void>> write(File& file, std::span<const std::byte> from, uint64_t offset) override;
  Task<Result<void>> sync_data(File& file) override;
  Task<void> sleep(Nanos duration) override;

 private:
  struct OperationAwaiter;
  struct SleepAwaiter;

  Result<std::unique_ptr<Engine>> make_engine();
  std::unique_ptr<Engine> make_thread_engine();
  void loop();
  void run_jobs();
  void run_timers();
  std::optional<Nanos> time_to_next_timer() const;

  void begin(Operation& op);
  void hand_to_engine(Operation& op);
  void completed(Operation& op) override;

  void coroutine_begun() override { ++running_; }
  void coroutine_ended() override { --running_; }

  const ReactorOptions options_;
  const Clock& clock_ = Clock::system();
  ReactorMetrics metrics_;
  const std::shared_ptr<Inbox> inbox_ = std::make_shared<Inbox>();

  // Of the reactor's thread.
  std::unique_ptr<Engine> io_;
  std::vector<Job> jobs_;
  std::vector<Timer> timers_;  // a heap
  uint64_t timer_sequence_ = 0;
  uint64_t running_ = 0;
  uint32_t in_flight_ = 0;
  Operation* waiting_head_ = nullptr;  // in order of arrival
  Operation* waiting_tail_ = nullptr;

  Mutex stop_mutex_;
  std::thread thread_ GUARDED_BY(stop_mutex_);
};

struct LoopReactor::OperationAwaiter {
  LoopReactor& reactor;
  Operation& op;
  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> self) const {
    op.waiter = self;
    reactor.begin(op);
  }
  void await_resume() const noexcept {}
};

struct LoopReactor::SleepAwaiter {
  LoopReactor& reactor;
  Nanos end;
  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> self) const {
    reactor.timers_.push_back({end, reactor.timer_sequence_++, self});
    std::push_heap(reactor.timers_.begin(), reactor.timers_.end());
  }
  void await_resume() const noexcept {}
};

Result<void> LoopReactor::launch() {
  std::promise<Result<void>> begun;
  std::future<Result<void>> result = begun.get_future();
  MutexLock lock(stop_mutex_);
  TRY_ASSIGN(thread_, start_thread(options_.name, [this, begun = std::move(begun)]() mutable {
               t_current = this;
               Result<std::unique_ptr<Engine>> made = make_engine();
               if (!made) {
                 begun.set_value(fail(std::move(made).error()));
                 return;
               }
               io_ = std::move(*made);
               begun.set_value({});
               loop();
               io_.reset();
               t_current = nullptr;
             }));
  Result<void> outcome = result.get();
  if (!outcome) thread_.join();
  return outcome;
}

Result<std::unique_ptr<Engine>> LoopReactor::make_engine() {
  if (options_.engine == EngineKind::kThreads) return make_thread_engine();
  auto ring = make_ring_engine(*this, *inbox_, options_);
  if (ring) {
    engine_ = EngineKind::kUring;
    metrics_.uring.set(1);
    return ring;
  }
  if (options_.engine == EngineKind::kUring) return ring;
  static std::once_flag said;
  std::call_once(said, [&] { log::info("local I/O runs on threads: {}", ring.error().message()); });
  return make_thread_engine();
}

std::unique_ptr<Engine> LoopReactor::make_thread_engine() {
  engine_ = EngineKind::kThreads;
  WorkerPool::Options pool{.threads_max = options_.threads_max,
                           .queue_max = options_.depth_max,
                           .name = options_.name + "-io"};
  return std::make_unique<ThreadEngine>(*this, *inbox_, std::move(pool));
}

void LoopReactor::loop() {
  while (true) {
    run_jobs();
    run_timers();
    if (running_ == 0 && in_flight_ == 0 && timers_.empty() && inbox_->close_if_stopping()) return;
    io_->turn(time_to_next_timer());
  }
}

void LoopReactor::run_jobs() {
  inbox_->take(jobs_);
  for (Job& job : jobs_) {
    job();
    job = nullptr;
  }
  jobs_.clear();
}

void LoopReactor::run_timers() {
  if (timers_.empty()) return;
  const Nanos now = clock_.monotonic();
  while (!timers_.empty() && timers_.front().end <= now) {
    const std::coroutine_handle<> waiter = timers_.front().waiter;
    std::pop_heap(timers_.begin(), timers_.end());
    timers_.pop_back();
    waiter.resume();
  }
}

std::optional<Nanos> LoopReactor::time_to_next_timer() const {
  if (timers_.empty()) return std::nullopt;
  return std::clamp(timers_.front().end - clock_.monotonic(), Nanos::zero(), kSleepMax);
}

void LoopReactor::begin(Operation& op) {
  metrics_.started[static_cast<size_t>(op.kind)]->add();
  op.started = clock_.monotonic();
  if (in_flight_ < options_.depth_max) {
    hand_to_engine(op);
    return;
  }
  metrics_.waiting.add();
  (waiting_tail_ != nullptr ? waiting_tail_->next : waiting_head_) = &op;
  waiting_tail_ = &op;
}

void LoopReactor::hand_to_engine(Operation& op) {
  ++in_flight_;
  metrics_.in_flight.add();
  io_->start(op);
}

void LoopReactor::completed(Operation& op) {
  metrics_.latency.record(clock_.monotonic() - op.started);
  if (!op.outcome) metrics_.failed.add();
  --in_flight_;
  metrics_.in_flight.sub();
  // Who waits longest goes before anything the resumed coroutine begins.
  if (Operation* const next = waiting_head_; next != nullptr) {
    waiting_head_ = next->next;
    if (waiting_head_ == nullptr) waiting_tail_ = nullptr;
    metrics_.waiting.sub();
    hand_to_engine(*next);
  }
  op.waiter.resume();  // `op` may be gone afterwards
}

void LoopReactor::post(Job job) {
  // The job may let the reactor's owner go on and destroy it before this call is over.
  const std::shared_ptr<Inbox> inbox = inbox_;
  inbox->post(std::move(job));
}

void LoopReactor::stop() {
  CHECK(Reactor::current() != this);
  inbox_->request_stop();
  MutexLock lock(stop_mutex_);
  if (thread_.joinable()) thread_.join();
}

Task<Result<size_t>> LoopReactor::read(File& file, std::span<std::byte> into, uint64_t offset) {
  CHECK(Reactor::current() == this);
  CO_TRY(check_file_range(offset, into.size()));
  if (into.empty()) co_return size_t{0};
  Operation op(Operation::Kind::kRead, file, into.data(), into.size(), offset);
  co_await OperationAwaiter{*this, op};
  co_return std::move(op.outcome);
}

Task<Result<void>> LoopReactor::write(File& file, std::span<const std::byte> from,
                                      uint64_t offset) {
  CHECK(Reactor::current() == this);
  CO_TRY(check_file_range(offset, from.size()));
  if (from.empty()) co_return Result<void>();
  Operation op(Operation::Kind::kWrite, file, const_cast<std::byte*>(from.data()), from.size(),
               offset);
  co_await OperationAwaiter{*this, op};
  if (!op.outcome) co_return fail(std::move(op.outcome).error());
  co_return Result<void>();
}

Task<Result<void>> LoopReactor::sync_data(File& file) {
  CHECK(Reactor::current() == this);
  Operation op(Operation::Kind::kSyncData, file, nullptr, 0, 0);
  co_await OperationAwaiter{*this, op};
  if (!op.outcome) co_return fail(std::move(op.outcome).error());
  co_return Result<void>();
}

Task<void> LoopReactor::sleep(Nanos duration) {
  CHECK(Reactor::current() == this);
  const Nanos now = clock_.monotonic();
  const Nanos end = duration > Nanos::max() - now ? Nanos::max() : now + duration;
  co_await SleepAwaiter{*this, end};
}

}  // namespace

Result<std::unique_ptr<Reactor>> Reactor::start(const ReactorOptions& options, Registry& registry) {
  if (options.depth_max == 0 || options.depth_max > kDepthLimit || options.threads_max == 0)
    return fail(Code::kInvalid, "reactor's depth or threads");
  auto reactor = std::make_unique<LoopReactor>(options, registry);
  TRY(reactor->launch());
  return reactor;
}

Reactor* Reactor::current() {
  return t_current;
}

detail::Detached Reactor::run_root(Reactor* reactor, Task<void> task) {
  reactor->coroutine_begun();
  {
    Task<void> running = std::move(task);
    co_await std::move(running);
  }  // what the task owned is gone before its end counts
  reactor->coroutine_ended();
}

void Reactor::spawn(Task<void> task) {
  post([this, root = std::move(task)]() mutable { run_root(this, std::move(root)); });
}

}  // namespace larder::io
