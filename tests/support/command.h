// Runs a program to its end and collects what it says.
#pragma once

#include <signal.h>
#include <sys/types.h>

#include <string>
#include <vector>

namespace larder::testing_support {

struct CommandResult {
  int exit_code = -1;  // -1: ended by a signal, or did not end in time
  std::string out;
  std::string err;
};

struct CommandOptions {
  std::string in = {};         // what it reads from stdin
  std::string directory = {};  // to run in; empty: the caller's
  uid_t uid = 0;               // 0: the caller's
  gid_t gid = 0;
  std::vector<std::string> environment = {};  // NAME=VALUE, added to the caller's
  int death_signal = SIGKILL;                 // sent to it when the calling thread ends
};

// A program that takes more than a minute is killed.
CommandResult run_command(const std::vector<std::string>& words,
                          const CommandOptions& options = {});

// Starts it with its output going to the file `log`; it is sent `death_signal` when the calling
// thread ends.  -1 when it could not be started.
pid_t start_command(const std::vector<std::string>& words, const std::string& log,
                    const CommandOptions& options = {});

// Whether the child ended within the time; then `status` is as waitpid gives it and the child is
// reaped.
bool wait_for_exit(pid_t child, int timeout_ms, int* status);

}  // namespace larder::testing_support
