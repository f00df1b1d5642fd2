// A point in time as file systems keep it: the dates of files reach far beyond what 64 bits of
// nanoseconds hold (1677 to 2262).
#pragma once

#include <chrono>
#include <compare>
#include <cstdint>
#include <ctime>

namespace larder {

struct Timestamp {
  static constexpr uint32_t kPerSecond = 1'000'000'000;

  int64_t seconds = 0;       // since 1970, UTC, rounded down: negative before
  uint32_t nanoseconds = 0;  // after that second, below kPerSecond, before 1970 as well

  // A reading of a wall clock.
  static constexpr Timestamp of(std::chrono::nanoseconds since_1970) {
    // Not by std::chrono::floor, which overflows next to the earliest reading.
    const int64_t whole = since_1970.count() / kPerSecond;
    const int64_t rest = since_1970.count() % kPerSecond;
    const bool is_below = rest < 0;
    return {whole - (is_below ? 1 : 0), static_cast<uint32_t>(is_below ? rest + kPerSecond : rest)};
  }

  // Of a timespec or a statx_timestamp.
  template <class Time>
    requires requires(const Time& time) {
      time.tv_sec;
      time.tv_nsec;
    }
  static constexpr Timestamp of(const Time& time) {
    return {time.tv_sec, static_cast<uint32_t>(time.tv_nsec)};
  }

  constexpr struct timespec timespec() const {
    return {.tv_sec = seconds, .tv_nsec = static_cast<long>(nanoseconds)};
  }

  constexpr auto operator<=>(const Timestamp&) const = default;
};

}  // namespace larder
