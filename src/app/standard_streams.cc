#include "app/standard_streams.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>

#include "app/exit_codes.h"

namespace larder::app {
namespace {

// Of the process, as its streams are.
bool is_sigpipe_ours = false;  // it was not ignored by who started the process
int output_errno = 0;          // of the first write that failed

void note_output_failure() {
  if (output_errno == 0) output_errno = errno;
  if (errno != EPIPE || !is_sigpipe_ours) return;
  std::signal(SIGPIPE, SIG_DFL);
  std::raise(SIGPIPE);
}

}  // namespace

void open_standard_streams() {
  // For the wrong direction, so that it is an error to use them, as it is with closed ones.
  constexpr int kFlags[] = {O_WRONLY, O_RDONLY, O_RDONLY};
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (fcntl(fd, F_GETFD) >= 0) continue;
    // The lowest that is free is this one.  The root serves where there is no /dev.
    if (open("/dev/null", kFlags[fd]) < 0 && open("/", O_PATH) < 0) _exit(kExitFailed);
  }
  // A message that nobody reads must not end the process.
  is_sigpipe_ours = std::signal(SIGPIPE, SIG_IGN) == SIG_DFL;
}

void write_output(std::string_view text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size()) note_output_failure();
}

int finish_output(int exit_code) {
  if (std::fflush(stdout) != 0) note_output_failure();
  if (std::ferror(stdout) != 0 && output_errno == 0) output_errno = EIO;
  if (output_errno == 0) return exit_code;
  complain(fmt::format("cannot write the output: {}", strerrordesc_np(output_errno)));
  return exit_code == kExitOk ? kExitFailed : exit_code;
}

void announce(std::string_view line) {
  const std::string text = fmt::format("{}\n", line);
  std::fflush(stdout);
  if (write(STDOUT_FILENO, text.data(), text.size()) < 0) return;
}

void write_message(std::string_view text) {
  std::fwrite(text.data(), 1, text.size(), stderr);
  std::fflush(stderr);
}

void complain(std::string_view line) {
  write_message(fmt::format("larder: {}\n", line));
}

}  // namespace larder::app
