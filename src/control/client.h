// The other end of the control files: what the command line uses to talk to a mount.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/error.h"

namespace larder::control {

// The daemon's process id in stats.json.
Result<int> parse_pid(std::string_view stats_json);

// A virtual file's content, read by a process of its own: a thread that waits for a daemon that
// hangs would keep its process from ending.  ETIMEDOUT when there is none in time.
Result<std::string> read_virtual_file(const std::string& path, Nanos timeout);
// Of several mounts at once; one result for each path.
std::vector<Result<std::string>> read_virtual_files(const std::vector<std::string>& paths,
                                                    Nanos timeout);

// One open control file.  Not thread-safe.
class ControlClient {
 public:
  static Result<ControlClient> open(const std::string& control_file);
  ControlClient(ControlClient&& other) noexcept;
  ControlClient& operator=(ControlClient&&) = delete;
  ~ControlClient();

  // Sends whole lines (at most kControlWriteMax bytes); gives one result a line, the text after
  // "ok".
  Result<std::vector<Result<std::string>>> run(std::string_view lines);
  // One line without its newline.
  Result<std::string> run_one(const std::string& line);

 private:
  explicit ControlClient(int fd) : fd_(fd) {}
  int fd_;
};

}  // namespace larder::control
