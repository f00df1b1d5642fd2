// Messages that may come with every request: a RepeatLimit before the log.  Thread-safe.
#pragma once

#include <concepts>
#include <cstdint>
#include <optional>
#include <string_view>

#include "base/log.h"

namespace larder::log {

// As RepeatLimit::admit of the whole process.
std::optional<uint64_t> admit_repeated(std::string_view kind, uint64_t subject);
// With "N more like this were not logged", if there are any.
void write_repeated(Level level, std::string_view message, uint64_t left_out);

// Logs what `say` returns, once a minute for each subject and at most ten times for each kind.
// `kind` is what all of them have in common, in words.
template <std::invocable Say>
void limited_warning(std::string_view kind, uint64_t subject, Say say) {
  if (const auto left_out = admit_repeated(kind, subject))
    write_repeated(Level::kWarning, say(), *left_out);
}
template <std::invocable Say>
void limited_error(std::string_view kind, uint64_t subject, Say say) {
  if (const auto left_out = admit_repeated(kind, subject))
    write_repeated(Level::kError, say(), *left_out);
}

// Says how many were left out that no later message told of: at the end.
void finish_limited();

}  // namespace larder::log
