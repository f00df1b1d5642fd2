// Logging.  The one owner of spdlog.  Thread-safe.
#pragma once

#include <fmt/format.h>

#include <string>
#include <string_view>

namespace larder::log {

enum class Level { kDebug, kInfo, kWarning, kError };

// Until told otherwise messages of kInfo and above go to stderr.
void set_level(Level level);
// From here on messages go to this file (appended); an empty path means syslog.
void set_file(const std::string& path);
bool enabled(Level level);
void write(Level level, std::string_view message);

template <class... Args>
void debug(fmt::format_string<Args...> format, Args&&... args) {
  if (enabled(Level::kDebug))
    write(Level::kDebug, fmt::format(format, std::forward<Args>(args)...));
}
template <class... Args>
void info(fmt::format_string<Args...> format, Args&&... args) {
  if (enabled(Level::kInfo)) write(Level::kInfo, fmt::format(format, std::forward<Args>(args)...));
}
template <class... Args>
void warning(fmt::format_string<Args...> format, Args&&... args) {
  write(Level::kWarning, fmt::format(format, std::forward<Args>(args)...));
}
template <class... Args>
void error(fmt::format_string<Args...> format, Args&&... args) {
  write(Level::kError, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace larder::log
