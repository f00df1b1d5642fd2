#include "cache/janitor.h"

#include <pthread.h>

#include <algorithm>

#include "base/check.h"

namespace larder::cache {

Janitor::Janitor(Registry& registry, const Clock& clock)
    : registry_(registry),
      clock_(clock),
      wakeups_(registry.counter("larder_janitor_wakeups_total",
                                "Times the housekeeping thread woke up.")) {}

Janitor::~Janitor() {
  stop();
}

Janitor::DutyId Janitor::add(Duty duty) {
  CHECK(!thread_.joinable());
  const Labels labels{{"duty", duty.name}};
  const NextStep first = duty.first;
  const bool is_held = duty.is_held;
  duties_.push_back(std::unique_ptr<State>(new State{
      std::move(duty),
      registry_.counter("larder_janitor_steps_total", "Steps of housekeeping.", labels),
      registry_.histogram("larder_janitor_step_seconds", "Duration of housekeeping steps.", labels),
      first, std::nullopt, is_held}));
  return duties_.size() - 1;
}

void Janitor::start() {
  CHECK(!thread_.joinable());
  thread_ = std::thread([this] { loop(); });
}

void Janitor::stop() {
  {
    MutexLock lock(mutex_);
    stopping_.store(true);
    wake_.notify_one();
  }
  if (thread_.joinable()) thread_.join();
}

void Janitor::poke(DutyId id) {
  if (!duties_[id]->poked.exchange(true)) wake();
}

void Janitor::release(DutyId id) {
  if (duties_[id]->is_held.exchange(false)) wake();
}

void Janitor::wake() {
  MutexLock lock(mutex_);
  wake_.notify_one();
}

NextStep Janitor::due_of(const State& state) const {
  if (state.is_held.load()) return kWhenPoked;
  NextStep due = state.poked.load() ? kAtOnce : state.due;
  if (due && state.begun) due = std::max(*due, *state.begun + state.duty.pause_min);
  return due;
}

NextStep Janitor::next_due() const {
  NextStep earliest;
  for (const auto& state : duties_)
    if (const NextStep due = due_of(*state); due && (!earliest || *due < *earliest)) earliest = due;
  return earliest;
}

Janitor::State* Janitor::next() const {
  const Nanos now = clock_.monotonic();
  State* chosen = nullptr;
  for (const auto& state : duties_) {
    const NextStep due = due_of(*state);
    if (!due || *due > now) continue;
    if (chosen == nullptr || state->begun < chosen->begun) chosen = state.get();
  }
  return chosen;
}

void Janitor::step(State& state) {
  state.poked.store(false);  // before the step: what is asked for from here on wants another
  state.begun = clock_.monotonic();
  {
    const Timed timed(state.seconds, clock_);
    state.due = state.duty.step();
  }
  state.steps.add();
}

void Janitor::run_duty(DutyId id) {
  CHECK(!thread_.joinable());
  step(*duties_[id]);
}

bool Janitor::run_due() {
  CHECK(!thread_.joinable());
  State* const state = next();
  if (state != nullptr) step(*state);
  return state != nullptr;
}

void Janitor::loop() {
  pthread_setname_np(pthread_self(), "larder-janitor");
  for (;;) {
    State* state = nullptr;
    {
      MutexLock lock(mutex_);
      while (!stopping_.load() && (state = next()) == nullptr) {
        if (const NextStep due = next_due())
          wake_.wait_for(mutex_, *due - clock_.monotonic());
        else
          wake_.wait(mutex_);
        wakeups_.add();
      }
    }
    if (stopping_.load()) return;
    step(*state);
  }
}

}  // namespace larder::cache
