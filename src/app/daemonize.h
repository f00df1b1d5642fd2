// Going into the background, so that the caller learns how the start went.
//
// The process forks at once, before any thread exists.  The parent waits on a pipe: it prints the
// child's error line and exits with its code, or exits with 0 once the child says that the mount
// answers.
#pragma once

#include <functional>
#include <string_view>

namespace larder::app {

// The child's end of the pipe.  The first of ready() and failed() counts; both may be called on any
// thread.
class StartReport {
 public:
  virtual ~StartReport() = default;
  // The mount answers: lets the parent go and moves stdin, stdout and stderr to /dev/null.
  virtual void ready() = 0;
  // One line for the terminal.
  virtual void failed(int exit_code, std::string_view line) = 0;
};

// Runs `serve` in a background process (a session of its own, in "/") and returns in the parent
// with the exit code.  In the child it does not return: the process exits with what `serve`
// returns.
int run_in_background(const std::function<int(StartReport&)>& serve);

// The same report for a process that stays in the foreground.
int run_in_foreground(const std::function<int(StartReport&)>& serve);

// Tells systemd (sd_notify): "READY=1", "STOPPING=1".  Nothing happens elsewhere.
void notify_service_manager(const char* state);

}  // namespace larder::app
