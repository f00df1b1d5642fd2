// Invariants: probe_ is set exactly while the breaker is half-open; every call added to deadlines_
// is given an answer by its worker, by its deadline, or by stop().
#include "source/dispatcher.h"

#include <algorithm>
#include <utility>

#include "base/log.h"

namespace larder::source {
namespace {

constexpr uint32_t kProbersMax = 4;                       // hung probes are left behind so often
constexpr Nanos kStopPatience = std::chrono::seconds(1);  // for threads that do not hang
constexpr Nanos kSleepMax = std::chrono::hours(1);

// "No such file" and the like are answers; these say that something is wrong with the source.
bool is_failure(const Error& error) {
  switch (static_cast<int>(error.code())) {
    case ENOSPC:
    case EDQUOT:
    case EROFS:
    case ESTALE:
      return true;
    default:
      return error.is(Code::kLimit) || fault_of(error.code()) != Fault::kNone;
  }
}

}  // namespace

CallMetrics::CallMetrics(Registry& registry)
    : timeouts_(registry.counter("larder_source_timeouts_total",
                                 "Calls the source did not answer in time")),
      in_flight_(registry.gauge("larder_source_calls_in_flight", "Calls waiting for the source")),
      metadata_latency_(registry.histogram("larder_source_call_duration_seconds",
                                           "Time the source took, queueing included",
                                           {{"class", "metadata"}})),
      data_latency_(registry.histogram("larder_source_call_duration_seconds",
                                       "Time the source took, queueing included",
                                       {{"class", "data"}})) {
  for (size_t i = 0; i < kCallKinds; ++i) {
    const Labels labels = {{"kind", kCallKindInfo[i].name}};
    calls_[i] = &registry.counter("larder_source_calls_total", "Calls of the source", labels);
    errors_[i] =
        &registry.counter("larder_source_errors_total",
                          "Calls the source could not carry out, time-outs included", labels);
  }
}

void CallMetrics::record(CallKind kind, Nanos duration, const Error* error) {
  const auto index = static_cast<size_t>(kind);
  calls_[index]->add();
  if (error != nullptr && is_failure(*error)) errors_[index]->add();
  if (error != nullptr && error->is(Code::kTimedOut)) timeouts_.add();
  (info(kind).moves_data ? data_latency_ : metadata_latency_).record(duration);
}

// A probe's answer goes to the watchdog rather than to a coroutine.
class Dispatcher::Probe final : public PendingCall {
 public:
  Probe(std::shared_ptr<HungCalls> hung, std::shared_ptr<Root> root)
      : PendingCall(std::move(hung)), root_(std::move(root)) {}

  void run() override {
    if (!begin()) return;
    Result<void> result = ask();
    if (end()) set(std::move(result));
  }
  // Empty while it is under way.
  std::optional<Result<void>> result() {
    MutexLock lock(mutex_);
    return result_;
  }
  Result<void> wait() {
    MutexLock lock(mutex_);
    while (!result_) answered_.wait(mutex_);
    return *result_;
  }
  // `wake` is called when the result is there, unless forget_waker() came before.
  void on_result(std::function<void()> wake) {
    MutexLock lock(mutex_);
    wake_ = std::move(wake);
  }
  // After this nothing of the waker is touched by a thread that comes back late.
  void forget_waker() {
    MutexLock lock(mutex_);
    wake_ = nullptr;
  }

 private:
  Result<void> ask() {
    errno = EIO;
    if (failpoint::hit(info(CallKind::kProbe).failpoint)) return fail_errno("injected");
    return root_->probe();
  }
  void answer(Code code) override { set(fail(code, "probe")); }
  void set(Result<void> result) {
    MutexLock lock(mutex_);
    result_ = std::move(result);
    answered_.notify_one();
    if (wake_) wake_();
  }

  const std::shared_ptr<Root> root_;
  Mutex mutex_;
  CondVar answered_;
  std::optional<Result<void>> result_ GUARDED_BY(mutex_);
  std::function<void()> wake_ GUARDED_BY(mutex_);
};

Dispatcher::Dispatcher(const SourceOptions& options, std::shared_ptr<Root> root, Registry& registry,
                       const Clock& clock)
    : clock_(clock),
      root_(std::move(root)),
      metrics_(registry),
      breaker_(options.breaker, clock,
               Random(static_cast<uint64_t>(clock.monotonic().count() ^ clock.wall().count()))),
      breaker_state_(registry.gauge("larder_source_breaker_state",
                                    "Circuit breaker: 0 closed, 1 open, 2 half-open")),
      deadlines_(options.timeout, clock),
      patient_deadlines_(std::min(options.patience, options.timeout), clock),
      workers_({options.threads_max, options.queue_max, "source"}),
      probers_({kProbersMax, kProbersMax, "source-probe"}),
      closer_(std::make_shared<Closer>(workers_)),
      descriptors_(options.descriptors) {
  register_gauges(registry);
  watchdog_ = std::thread([this] { watch(); });
}

Dispatcher::~Dispatcher() {
  stop();
}

void Dispatcher::register_gauges(Registry& registry) {
  registry.gauge_callback("larder_source_calls_hung",
                          "Calls given up whose threads have not come back",
                          [hung = hung_] { return hung->now.load(); });
  registry.gauge_callback("larder_source_calls_recovered",
                          "Calls given up whose threads came back later",
                          [hung = hung_] { return hung->recovered.load(); });
}

Result<void> Dispatcher::attach_root() {
  const auto first = std::make_shared<Probe>(hung_, root_);
  const auto handle = submit(probers_, deadlines_, first);
  const Result<void> result = first->wait();  // by its deadline at the latest
  if (handle) deadlines_.remove(*handle);
  if (result) return {};
  if (fault_of(result.error().code()) == Fault::kNone) return result;
  log::warning("source {} does not answer: {}", root_->path(), result.error().message());
  if (breaker_.trip()) wake_watchdog();
  return {};
}

std::optional<Deadlines::Handle> Dispatcher::submit(io::WorkerPool& workers, Deadlines& deadlines,
                                                    const std::shared_ptr<PendingCall>& call) {
  const auto handle = deadlines.add(call);
  if (!handle) {
    call->give_up(Code::kCancelled);
    return handle;
  }
  if (!workers.submit([call] { call->run(); })) call->give_up(Code::kLimit);
  // Mostly the watchdog sleeps until an earlier deadline, and need not be woken.
  MutexLock lock(mutex_);
  if ((*handle)->deadline < sleeps_until_) {
    woken_ = true;
    wake_.notify_one();
  }
  return handle;
}

bool Dispatcher::admits_patient_call() {
  if (!hung_->silent.load(std::memory_order_relaxed)) return true;
  constexpr Nanos kTryEvery = std::chrono::seconds(5);
  const int64_t now_ns = clock_.monotonic().count();
  int64_t tried_ns = tried_at_ns_.load(std::memory_order_relaxed);
  return now_ns - tried_ns >= kTryEvery.count() &&
         tried_at_ns_.compare_exchange_strong(tried_ns, now_ns, std::memory_order_relaxed);
}

void Dispatcher::finish(CallKind kind, Nanos start, const Error* error, Wait wait) {
  metrics_.record(kind, clock_.monotonic() - start, error);
  const bool unanswered =
      error != nullptr && (error->is(Code::kLimit) || error->is(Code::kCancelled));
  if (unanswered) return;  // says nothing of the source
  if (wait == Wait::kPatiently && error != nullptr && error->is(Code::kTimedOut)) {
    // Slow is not down: only a call that waited its full time counts against the source.
    if (!hung_->silent.exchange(true))
      log::info("source {} is slow to answer: serving what is cached", root_->path());
    tried_at_ns_.store(clock_.monotonic().count(), std::memory_order_relaxed);
    return;
  }
  if (breaker_.record(kind, error == nullptr ? Fault::kNone : fault_of(error->code()))) {
    log::warning("source {} is down: {}", root_->path(), error->message());
    wake_watchdog();
  }
}

void Dispatcher::on_state_change(std::function<void(bool up)> notify) {
  {
    MutexLock lock(mutex_);
    notify_ = std::move(notify);
  }
  wake_watchdog();
}

void Dispatcher::wake_watchdog() {
  MutexLock lock(mutex_);
  woken_ = true;
  wake_.notify_one();
}

void Dispatcher::watch() {
  while (true) {
    {
      MutexLock lock(mutex_);
      if (stopping_) return;
    }
    while (const auto overdue = deadlines_.take_overdue()) overdue->give_up(Code::kTimedOut);
    while (const auto overdue = patient_deadlines_.take_overdue())
      overdue->give_up(Code::kTimedOut);
    collect_probe();
    send_probe();
    tell_change();
    sleep_until_due();
  }
}

void Dispatcher::send_probe() {
  if (!breaker_.begin_probe()) return;
  probe_ = std::make_shared<Probe>(hung_, root_);
  probe_->on_result([this] { wake_watchdog(); });
  probe_handle_ = submit(probers_, deadlines_, probe_);
}

void Dispatcher::collect_probe() {
  if (!probe_) return;
  const std::optional<Result<void>> result = probe_->result();
  if (!result) return;
  if (probe_handle_) deadlines_.remove(*probe_handle_);
  probe_handle_.reset();
  probe_.reset();
  breaker_.end_probe(result->has_value());
  if (*result) log::info("source {} is up again", root_->path());
}

void Dispatcher::tell_change() {
  breaker_state_.set(static_cast<int64_t>(breaker_.state()));
  const bool up = is_up();
  std::function<void(bool up)> notify;
  {
    MutexLock lock(mutex_);
    notify = notify_;
  }
  if (!notify || up == told_up_) return;
  told_up_ = up;
  notify(up);
}

void Dispatcher::sleep_until_due() {
  MutexLock lock(mutex_);
  // Looked at under the lock: a call added later sees sleeps_until_.
  Nanos due = clock_.monotonic() + kSleepMax;
  if (const auto deadline = deadlines_.next()) due = std::min(due, *deadline);
  if (const auto deadline = patient_deadlines_.next()) due = std::min(due, *deadline);
  if (const auto probe = breaker_.next_probe()) due = std::min(due, *probe);
  const Nanos rest = due - clock_.monotonic();
  if (!woken_ && !stopping_ && rest > Nanos(0)) {
    sleeps_until_ = due;
    wake_.wait_for(mutex_, rest);
    sleeps_until_ = Nanos(0);
  }
  woken_ = false;
}

void Dispatcher::stop() {
  {
    MutexLock lock(mutex_);
    if (stopping_) return;
    stopping_ = true;
    wake_.notify_one();
  }
  watchdog_.join();
  while (const auto call = deadlines_.close()) call->give_up(Code::kCancelled);
  while (const auto call = patient_deadlines_.close()) call->give_up(Code::kCancelled);
  if (probe_) probe_->forget_waker();
  workers_.stop(kStopPatience);
  probers_.stop(kStopPatience);
  closer_->detach_workers();
}

}  // namespace larder::source
