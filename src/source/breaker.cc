#include "source/breaker.h"

#include <algorithm>
#include <bit>

#include "base/check.h"

namespace larder::source {

Fault fault_of(Code code) {
  if (code == Code::kTimedOut) return Fault::kTransport;
  if (code == Code::kSourceDown) return Fault::kRootLost;
  switch (static_cast<int>(code)) {
    case EIO:
      return Fault::kIo;
    case ETIMEDOUT:
    case ENOTCONN:
    case ECONNREFUSED:
    case ECONNRESET:
    case ECONNABORTED:
    case EHOSTDOWN:
    case EHOSTUNREACH:
    case ENETDOWN:
    case ENETUNREACH:
    case ENETRESET:
    case ESHUTDOWN:
    case EREMOTEIO:
    case ENODEV:  // the device under a mounted file system went away
      return Fault::kTransport;
    default:
      return Fault::kNone;
  }
}

Breaker::Breaker(const BreakerOptions& options, const Clock& clock, Random random)
    : options_(options), clock_(clock), random_(random) {
  CHECK(options_.faults_max > 0);
  CHECK(options_.probe_delay_min > Nanos(0));
  CHECK(options_.probe_delay_max >= options_.probe_delay_min);
}

void Breaker::apply(BreakerEvent event) {
  const std::optional<BreakerState> next = next_state(state(), event);
  CHECK(next.has_value());
  state_.store(*next, std::memory_order_relaxed);
}

void Breaker::forget_faults() {
  hard_faults_ = 0;
  io_faults_ = 0;
  fault_kinds_ = 0;
  suspicious_.store(false, std::memory_order_relaxed);
}

bool Breaker::record(CallKind kind, Fault fault) {
  // The usual case, a good answer from a healthy source, takes no lock.
  if (fault == Fault::kNone && !suspicious_.load(std::memory_order_relaxed)) return false;
  if (fault == Fault::kRootLost) return trip();
  MutexLock lock(mutex_);
  if (state() != BreakerState::kClosed) return false;
  if (fault == Fault::kNone) {
    forget_faults();
    return false;
  }
  suspicious_.store(true, std::memory_order_relaxed);
  ++(fault == Fault::kIo ? io_faults_ : hard_faults_);
  fault_kinds_ |= 1u << static_cast<unsigned>(kind);
  const bool mixed_kinds =
      static_cast<uint32_t>(std::popcount(fault_kinds_)) >= options_.io_kinds_min;
  if (hard_faults_ < options_.faults_max &&
      !(hard_faults_ + io_faults_ >= options_.faults_max && mixed_kinds))
    return false;
  apply(BreakerEvent::kTrip);
  probe_delay_ = options_.probe_delay_min;
  schedule_probe();
  return true;
}

bool Breaker::trip() {
  MutexLock lock(mutex_);
  if (state() != BreakerState::kClosed) return false;
  apply(BreakerEvent::kTrip);
  probe_delay_ = options_.probe_delay_min;
  schedule_probe();
  return true;
}

void Breaker::schedule_probe() {
  // Jitter of a quarter either way keeps many mounts of one server from asking in step.
  const auto quarter = static_cast<uint64_t>(probe_delay_.count()) / 4;
  const auto jitter = static_cast<int64_t>(random_.below(2 * quarter + 1));
  const Nanos delay = probe_delay_ - Nanos(static_cast<int64_t>(quarter)) + Nanos(jitter);
  probe_at_ = clock_.monotonic() + std::min(delay, options_.probe_delay_max);
}

std::optional<Nanos> Breaker::next_probe() const {
  MutexLock lock(mutex_);
  if (state() != BreakerState::kOpen) return std::nullopt;
  return probe_at_;
}

bool Breaker::begin_probe() {
  MutexLock lock(mutex_);
  if (state() != BreakerState::kOpen || clock_.monotonic() < probe_at_) return false;
  apply(BreakerEvent::kProbe);
  return true;
}

void Breaker::end_probe(bool success) {
  MutexLock lock(mutex_);
  apply(success ? BreakerEvent::kProbeSucceeded : BreakerEvent::kProbeFailed);
  if (success) {
    forget_faults();
    return;
  }
  probe_delay_ = std::min(probe_delay_ * 2, options_.probe_delay_max);
  schedule_probe();
}

}  // namespace larder::source
