#include "base/clock.h"

#include <ctime>

namespace larder {
namespace {

Nanos nanos(const timespec& time) {
  return std::chrono::seconds(time.tv_sec) + Nanos(time.tv_nsec);
}

class SystemClock final : public Clock {
 public:
  SystemClock() {
    timespec tick{};
    clock_getres(CLOCK_MONOTONIC_COARSE, &tick);
    tick_ = nanos(tick);
  }
  Nanos monotonic() const override { return std::chrono::steady_clock::now().time_since_epoch(); }
  // The time of the kernel's last tick; the next one may be due.
  Nanos monotonic_coarse() const override {
    timespec time{};
    clock_gettime(CLOCK_MONOTONIC_COARSE, &time);
    return nanos(time) + tick_;
  }
  Nanos wall() const override { return std::chrono::system_clock::now().time_since_epoch(); }

 private:
  Nanos tick_{0};
};

}  // namespace

const Clock& Clock::system() {
  static const SystemClock clock;
  return clock;
}

}  // namespace larder
