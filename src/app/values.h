// Values as a user writes them: sizes (K, M, G, T: powers of 1024), times (ms, s, m, h), shares
// (%).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/error.h"

namespace larder::app {

// Errors are kInvalid without a detail: the caller knows the key and what it accepts.
Result<uint64_t> parse_size(
    std::string_view text);  // "4096", "128K", "50G"; a trailing B or iB is allowed
Result<Nanos> parse_duration(std::string_view text);  // "0", "250ms", "5s", "2m", "1h"
// What to say of a text that is no duration: "the unit is missing (5s?): ", or nothing.
std::string missing_unit(std::string_view text);
Result<uint64_t> parse_count(std::string_view text);
Result<bool> parse_switch(std::string_view text);  // on|yes|true|1, off|no|false|0

// A number of bytes, or a share of the disk it lies on.
struct SizeLimit {
  uint64_t bytes = 0;
  uint32_t percent = 0;  // when not 0, bytes is not used
  // In bytes, on a disk of this size.
  uint64_t resolve(uint64_t disk_bytes) const {
    return percent == 0 ? bytes : disk_bytes / 100 * percent;
  }
  bool operator==(const SizeLimit&) const = default;
};
Result<SizeLimit> parse_size_limit(std::string_view text);  // "50G", "20%"

// The shortest form that parses back to the same value.
std::string format_size(uint64_t bytes);
std::string format_duration(Nanos duration);
std::string format_size_limit(const SizeLimit& limit);

}  // namespace larder::app
