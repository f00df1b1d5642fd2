#include "base/limited_log.h"

#include <fmt/format.h>

#include "base/repeat_limit.h"

namespace larder::log {
namespace {

RepeatLimit& limit() {
  static RepeatLimit instance({}, Clock::system());
  return instance;
}

}  // namespace

std::optional<uint64_t> admit_repeated(std::string_view kind, uint64_t subject) {
  return limit().admit(kind, subject);
}

void write_repeated(Level level, std::string_view message, uint64_t left_out) {
  if (left_out == 0) return write(level, message);
  write(level, fmt::format("{} ({} more like this were not logged)", message, left_out));
}

void finish_limited() {
  for (const auto& [kind, count] : limit().take_left_out())
    warning("{}: {} more like this were not logged", kind, count);
}

}  // namespace larder::log
