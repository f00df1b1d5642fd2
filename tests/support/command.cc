#include "support/command.h"

#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string_view>
#include <thread>

namespace larder::testing_support {
namespace {

constexpr int kRunMsMax = 60'000;

std::vector<char*> argument_vector(std::vector<std::string>& words) {
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  return argv;
}

// In the child.
[[noreturn]] void become(std::vector<std::string> words, const CommandOptions& options) {
  std::vector<char*> argv = argument_vector(words);
  for (const std::string& variable : options.environment) putenv(strdup(variable.c_str()));
  if (!options.directory.empty() && chdir(options.directory.c_str()) != 0) _exit(126);
  if (options.uid != 0 &&
      (setgroups(0, nullptr) != 0 || setgid(options.gid) != 0 || setuid(options.uid) != 0))
    _exit(126);
  prctl(PR_SET_PDEATHSIG, options.death_signal);
  execvp(argv[0], argv.data());
  _exit(127);
}

std::string read_to_end(int fd) {
  std::string text;
  char part[4096];
  for (;;) {
    const ssize_t got = read(fd, part, sizeof part);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return text;
    text.append(part, static_cast<size_t>(got));
  }
}

void write_to_end(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = write(fd, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return;  // it does not read all of it
    text.remove_prefix(static_cast<size_t>(written));
  }
}

}  // namespace

CommandResult run_command(const std::vector<std::string>& words, const CommandOptions& options) {
  signal(SIGPIPE, SIG_IGN);
  int in[2], out[2], err[2];
  if (pipe2(in, O_CLOEXEC) != 0 || pipe2(out, O_CLOEXEC) != 0 || pipe2(err, O_CLOEXEC) != 0)
    return {};
  const pid_t child = fork();
  if (child == 0) {
    dup2(in[0], STDIN_FILENO);
    dup2(out[1], STDOUT_FILENO);
    dup2(err[1], STDERR_FILENO);
    signal(SIGPIPE, SIG_DFL);
    become(words, options);
  }
  close(in[0]);
  close(out[1]);
  close(err[1]);
  CommandResult result;
  std::thread writer([&] {
    write_to_end(in[1], options.in);
    close(in[1]);
  });
  std::thread reader([&] { result.out = read_to_end(out[0]); });
  std::thread error_reader([&] { result.err = read_to_end(err[0]); });
  int status = 0;
  if (wait_for_exit(child, kRunMsMax, &status)) {
    if (WIFEXITED(status)) result.exit_code = WEXITSTATUS(status);
  } else {
    kill(child, SIGKILL);
    waitpid(child, &status, 0);
    result.err += "[killed: it did not end]";
  }
  writer.join();
  reader.join();
  error_reader.join();
  close(out[0]);
  close(err[0]);
  return result;
}

pid_t start_command(const std::vector<std::string>& words, const std::string& log,
                    const CommandOptions& options) {
  const int fd = open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (fd < 0) return -1;
  const pid_t child = fork();
  if (child == 0) {
    dup2(fd, STDOUT_FILENO);
    dup2(fd, STDERR_FILENO);
    become(words, options);
  }
  close(fd);
  return child;
}

bool wait_for_exit(pid_t child, int timeout_ms, int* status) {
  const int fd = static_cast<int>(syscall(SYS_pidfd_open, child, 0));
  if (fd < 0) return false;
  pollfd watched{.fd = fd, .events = POLLIN, .revents = 0};
  int ready = 0;
  do {
    ready = poll(&watched, 1, timeout_ms);
  } while (ready < 0 && errno == EINTR);
  close(fd);
  return ready == 1 && waitpid(child, status, 0) == child;
}

}  // namespace larder::testing_support
