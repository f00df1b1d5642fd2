#include "base/log.h"

#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/sinks/syslog_sink.h>
#include <spdlog/spdlog.h>

#include <atomic>
#include <memory>

namespace larder::log {
namespace {

spdlog::level::level_enum to_spdlog(Level level) {
  switch (level) {
    case Level::kDebug:
      return spdlog::level::debug;
    case Level::kInfo:
      return spdlog::level::info;
    case Level::kWarning:
      return spdlog::level::warn;
    case Level::kError:
      return spdlog::level::err;
  }
  return spdlog::level::info;
}

std::atomic<Level> g_level{Level::kInfo};

std::shared_ptr<spdlog::logger> make_logger(spdlog::sink_ptr sink) {
  auto logger = std::make_shared<spdlog::logger>("larder", std::move(sink));
  logger->set_level(spdlog::level::debug);
  logger->flush_on(spdlog::level::debug);
  return logger;
}

// Replaced only by set_file, before or after other threads log: hence the atomic pointer.
std::atomic<std::shared_ptr<spdlog::logger>>& logger() {
  static std::atomic<std::shared_ptr<spdlog::logger>> instance(
      make_logger(std::make_shared<spdlog::sinks::stderr_sink_mt>()));
  return instance;
}

}  // namespace

void set_level(Level level) {
  g_level.store(level, std::memory_order_relaxed);
}

bool enabled(Level level) {
  return level >= g_level.load(std::memory_order_relaxed);
}

void set_file(const std::string& path) {
  spdlog::sink_ptr sink;
  if (path.empty())
    sink = std::make_shared<spdlog::sinks::syslog_sink_mt>("larder", LOG_PID, LOG_DAEMON, false);
  else
    sink = std::make_shared<spdlog::sinks::basic_file_sink_mt>(path);
  logger().store(make_logger(std::move(sink)));
}

void write(Level level, std::string_view message) {
  if (enabled(level)) logger().load()->log(to_spdlog(level), message);
}

}  // namespace larder::log
