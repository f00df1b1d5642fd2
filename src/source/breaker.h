// The circuit breaker: stops asking a source that does not answer, and asks again with back-off.
// (The pattern: M. Nygard, Release It!, 2007.)
//
//   closed     calls go to the source; faults in a row are counted
//   open       no call goes to the source; a probe is due at next_probe()
//   half-open  one probe is under way
//
// A fault is a time-out, a transport error, or the loss of the root directory; any other answer,
// ENOENT included, is a sign of life.  A plain EIO may be one bad sector: it counts, but EIOs alone
// open the breaker only when they came from calls of several kinds.  The loss of the root opens it
// at once.
//
// Holds no thread and calls nobody: source/dispatcher.h drives it.  Thread-safe.
//
// Invariants: the state changes only along kTransitions; at most one probe is under way;
// next_probe() has a value exactly in state open.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <optional>

#include "base/clock.h"
#include "base/error.h"
#include "base/mutex.h"
#include "base/random.h"
#include "source/call_kind.h"

namespace larder::source {

enum class BreakerState : uint8_t { kClosed, kOpen, kHalfOpen };
enum class BreakerEvent : uint8_t { kTrip, kProbe, kProbeSucceeded, kProbeFailed };

struct BreakerTransition {
  BreakerState from;
  BreakerEvent event;
  BreakerState to;
};

// All legal transitions.
inline constexpr std::array<BreakerTransition, 4> kTransitions = {{
    {BreakerState::kClosed, BreakerEvent::kTrip, BreakerState::kOpen},
    {BreakerState::kOpen, BreakerEvent::kProbe, BreakerState::kHalfOpen},
    {BreakerState::kHalfOpen, BreakerEvent::kProbeSucceeded, BreakerState::kClosed},
    {BreakerState::kHalfOpen, BreakerEvent::kProbeFailed, BreakerState::kOpen},
}};

// Empty when the event is not legal in that state.
constexpr std::optional<BreakerState> next_state(BreakerState from, BreakerEvent event) {
  for (const BreakerTransition& transition : kTransitions)
    if (transition.from == from && transition.event == event) return transition.to;
  return std::nullopt;
}

enum class Fault : uint8_t { kNone, kIo, kTransport, kRootLost };

// What an error says about the source's health.
Fault fault_of(Code code);

struct BreakerOptions {
  uint32_t faults_max = 5;    // so many in a row open the breaker
  uint32_t io_kinds_min = 3;  // kinds of calls that must be among them when some were plain EIO
  Nanos probe_delay_min = std::chrono::milliseconds(250);
  Nanos probe_delay_max = std::chrono::seconds(30);
};

class Breaker {
 public:
  Breaker(const BreakerOptions& options, const Clock& clock, Random random);

  // Whether calls may go to the source.  One relaxed load.
  bool admits() const { return state() == BreakerState::kClosed; }
  BreakerState state() const { return state_.load(std::memory_order_relaxed); }

  // Reports the outcome of a call; ignored unless closed (the answer to a call from before says
  // nothing about now).  True when it opened the breaker.
  bool record(CallKind kind, Fault fault);
  // Opens it whatever was counted.  True when it was closed.
  bool trip();

  // When a probe is due.
  std::optional<Nanos> next_probe() const;
  // True when a probe is due: the caller makes it and reports with end_probe.
  bool begin_probe();
  void end_probe(bool success);

 private:
  void apply(BreakerEvent event) REQUIRES(mutex_);
  void schedule_probe() REQUIRES(mutex_);
  void forget_faults() REQUIRES(mutex_);

  const BreakerOptions options_;
  const Clock& clock_;
  mutable Mutex mutex_;
  std::atomic<BreakerState> state_{BreakerState::kClosed};  // written under mutex_
  std::atomic<bool> suspicious_{false};                     // faults counted; written under mutex_
  Random random_ GUARDED_BY(mutex_);
  uint32_t hard_faults_ GUARDED_BY(mutex_) = 0;  // in a row: time-outs and transport errors
  uint32_t io_faults_ GUARDED_BY(mutex_) = 0;    // in the same row: EIO
  uint32_t fault_kinds_ GUARDED_BY(mutex_) = 0;  // bit per CallKind in the row
  Nanos probe_delay_ GUARDED_BY(mutex_){0};      // before jitter
  Nanos probe_at_ GUARDED_BY(mutex_){0};
  static_assert(kCallKinds <= 32);
};

}  // namespace larder::source
