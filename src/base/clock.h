// Time, injected: everything that waits or compares times takes a Clock.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>

namespace larder {

using Nanos = std::chrono::nanoseconds;

// Thread-safe.
class Clock {
 public:
  virtual ~Clock() = default;
  // Since an arbitrary start; never goes back.
  virtual Nanos monotonic() const = 0;
  // Since 1970 (UTC); may jump.
  virtual Nanos wall() const = 0;

  static const Clock& system();
};

// Moves only when told to.  For tests.
class ManualClock final : public Clock {
 public:
  Nanos monotonic() const override { return Nanos(now_ns_.load(std::memory_order_relaxed)); }
  Nanos wall() const override { return kEpoch + monotonic(); }
  void advance(Nanos by) { now_ns_.fetch_add(by.count(), std::memory_order_relaxed); }

 private:
  static constexpr Nanos kEpoch = std::chrono::seconds(1'700'000'000);
  std::atomic<int64_t> now_ns_{1'000'000'000};
};

}  // namespace larder
