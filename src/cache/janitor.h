// Janitor: housekeeping in small steps, on one thread.
//
// What is to be done is a table of duties.  A duty's step does one bounded piece of work and says
// when it wants the next: at a time, at once, or when it is poked.  With nothing due the thread
// sleeps, and without a timer when every duty waits for a poke: so an idle mount is not woken.
//
// Invariants
//   - One step runs at a time.
//   - Two steps of a duty begin at least its pause_min apart, also when it is poked.
//   - A poke is not lost: one that comes while the duty's step runs leads to a step after it, one
//     that comes while the duty is held to a step when it is released.
//   - Among the duties that are due the one that has waited longest since its last step is next, so
//     none starves another.
//
// Threads: add() before start(); poke() and release() at any time from any thread, under any lock
// but those that a step takes while it runs; the rest by the owner.  The table is fixed from
// start() on, and when a duty is due next is known to whoever steps alone; poke() leaves a flag.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "base/metrics.h"
#include "base/mutex.h"

namespace larder::cache {

// When a duty wants its next step, by the clock's monotonic(); nullopt: when it is poked.
using NextStep = std::optional<Nanos>;
inline constexpr NextStep kWhenPoked = std::nullopt;
inline constexpr NextStep kAtOnce = Nanos(0);

struct Duty {
  std::string name;             // the label duty= of its metrics
  Nanos pause_min{0};           // its rate limit: least time from one step to the next
  NextStep first = kWhenPoked;  // its first step
  bool is_held = false;         // it waits for release() before it steps, poked or not
  std::function<NextStep()> step;
};

class Janitor {
 public:
  using DutyId = size_t;

  Janitor(Registry& registry, const Clock& clock);
  // Stops.
  ~Janitor();

  DutyId add(Duty duty);
  void start();
  // After the step under way.  Idempotent; poke() does nothing afterwards.
  void stop();
  // Asks for a step now.  Costs one atomic operation when the duty has been poked already.
  void poke(DutyId id);
  // What it waited for has come about.
  void release(DutyId id);

  // --- by hand, in tests: only while the thread does not run.
  // Steps the duty, due or not.
  void run_duty(DutyId id);
  // Steps the duty that is next, if one is due now.
  bool run_due();
  // When one is due next; nullopt: when one is poked.
  NextStep next_due() const;

 private:
  struct State {
    Duty duty;
    Counter& steps;
    Histogram& seconds;
    NextStep due;
    std::optional<Nanos> begun;  // its last step
    std::atomic<bool> is_held;
    std::atomic<bool> poked{false};
  };
  void wake();
  // With its rate limit and pokes counted in; nullopt also when it is held.
  NextStep due_of(const State& state) const;
  State* next() const;
  void step(State& state);
  void loop();

  Registry& registry_;
  const Clock& clock_;
  Counter& wakeups_;
  std::vector<std::unique_ptr<State>> duties_;
  std::atomic<bool> stopping_{false};
  Mutex mutex_;  // orders the thread's last look at the flags and its sleep with poke() and stop()
  CondVar wake_;
  std::thread thread_;
};

}  // namespace larder::cache
