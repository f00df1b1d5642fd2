#include "cache/pass_schedule.h"

namespace larder::cache {

PassSchedule::PassSchedule(catalog::Catalog& catalog, const std::string& name, Nanos period,
                           Activity& activity, const Clock& clock)
    : activity_(activity), record_(name + "-ended"), period_(period), clock_(clock) {
  if (const auto ended = catalog.number(record_); ended && *ended)
    ended_at_ = Nanos(static_cast<int64_t>(**ended));
}

Nanos PassSchedule::until_due() const {
  const Nanos age = clock_.wall() - ended_at_;
  // A clock that was set back says nothing about the age.
  if (ended_at_ == Nanos(0) || age < Nanos(0)) return Nanos(0);
  return period_ - age;
}

bool PassSchedule::may_run() {
  if (is_requested()) return true;
  if (clock_.monotonic() < not_before_) {
    ask_again_ = not_before_;
    return false;
  }
  if (is_urgent_) return true;
  if (!is_running_ && until_due() > Nanos(0)) {
    ask_again_ = clock_.monotonic() + until_due();
    return false;
  }
  ask_again_ = kWhenPoked;
  return activity_.lately();
}

void PassSchedule::begin() {
  covers_ = requested_.load();
  is_running_ = true;
}

void PassSchedule::begin_urgent() {
  covers_ = answered_.load();
  is_running_ = true;
}

void PassSchedule::remember_end(catalog::Batch& batch) {
  ended_at_ = clock_.wall();
  batch.put_number(record_, static_cast<uint64_t>(ended_at_.count()));
}

void PassSchedule::end() {
  is_urgent_ = false;
  is_running_ = false;
  answered_.store(covers_);
}

void PassSchedule::end_in_vain(Nanos retry_after) {
  not_before_ = clock_.monotonic() + retry_after;
  is_running_ = false;
  answered_.store(covers_);
}

}  // namespace larder::cache
