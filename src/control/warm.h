// Warming by command: the state of a job, and the commands that steer one.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "control/command.h"

namespace larder::control {

struct WarmStatus {
  uint64_t files_total = 0;
  uint64_t files_done = 0;
  uint64_t files_missing = 0;
  uint64_t files_failed = 0;
  uint64_t bytes_done = 0;
  uint64_t bytes_total = 0;
  bool done = false;
  std::vector<std::string> errors;   // the first few
  std::vector<std::string> missing;  // the first few
};

// On one line.
std::string format_warm_status(const WarmStatus& status);
Result<WarmStatus> parse_warm_status(std::string_view json);

// What the commands steer.  Implementations are thread-safe; an unknown job is kNotFound.
class WarmService {
 public:
  enum class Added { kAccepted, kBusy };

  virtual ~WarmService() = default;
  // The job's number; kLimit when too many run.  The job is the client's.
  virtual Result<uint64_t> begin(uint64_t client) = 0;
  // The client has gone: what is left of its jobs is dropped, and they are forgotten.
  virtual void abandon(uint64_t client) = 0;
  // path is relative to the mount's root, "." is the root.
  virtual Result<Added> add(uint64_t job, std::string path, bool recursive) = 0;
  virtual Result<void> end(uint64_t job) = 0;
  virtual Result<WarmStatus> status(uint64_t job) = 0;
};

// Adds warm-begin, warm-add, warm-end and warm-status.  The service must outlive the table's use.
void add_warm_commands(CommandTable& table, WarmService& service);

}  // namespace larder::control
