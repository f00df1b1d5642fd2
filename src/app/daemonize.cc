#include "app/daemonize.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "app/exit_codes.h"
#include "app/standard_streams.h"
#include "base/check.h"

#if LARDER_HAVE_SYSTEMD
#include <systemd/sd-daemon.h>
#endif

namespace larder::app {
namespace {

constexpr char kReady = 'R';
constexpr char kFailed = 'F';  // followed by the exit code (one byte) and the line

void write_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = write(fd, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return;  // the parent is gone: nobody is left to be told
    bytes.remove_prefix(static_cast<size_t>(written));
  }
}

std::string read_all(int fd) {
  std::string bytes;
  char chunk[4096];
  while (true) {
    const ssize_t got = read(fd, chunk, sizeof chunk);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return bytes;
    bytes.append(chunk, static_cast<size_t>(got));
  }
}

class PipeReport final : public StartReport {
 public:
  explicit PipeReport(int fd) : fd_(fd) {}

  void ready() override {
    if (reported_.exchange(true)) return;
    const int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO})
      if (null >= 0) dup2(null, fd);
    if (null > STDERR_FILENO) close(null);
    write_all(fd_, std::string(1, kReady));
    close(fd_);
  }
  void failed(int exit_code, std::string_view line) override {
    if (reported_.exchange(true)) return;
    write_all(fd_, fmt::format("{}{}{}", kFailed, static_cast<char>(exit_code), line));
    close(fd_);
  }

 private:
  const int fd_;
  std::atomic<bool> reported_{false};
};

class TerminalReport final : public StartReport {
 public:
  void ready() override { reported_ = true; }
  void failed(int, std::string_view line) override {
    if (!reported_.exchange(true)) complain(line);
  }

 private:
  std::atomic<bool> reported_{false};
};

int await_child(pid_t child, int fd) {
  const std::string report = read_all(fd);
  close(fd);
  if (!report.empty() && report[0] == kReady) return kExitOk;
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (report.size() >= 2 && report[0] == kFailed) {
    complain(std::string_view(report).substr(2));
    return report[1];
  }
  if (WIFSIGNALED(status))
    complain(fmt::format("the daemon was ended by signal {} before the mount was ready",
                         WTERMSIG(status)));
  else
    complain("the daemon ended before the mount was ready");
  return kExitMountFailed;
}

}  // namespace

int run_in_background(const std::function<int(StartReport&)>& serve) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) {
    complain("cannot make a pipe");
    return kExitMountFailed;
  }
  std::fflush(nullptr);
  const pid_t child = fork();
  if (child < 0) {
    complain(fmt::format("cannot start the daemon: {}", strerrordesc_np(errno)));
    return kExitMountFailed;
  }
  if (child > 0) {
    close(ends[1]);
    return await_child(child, ends[0]);
  }
  close(ends[0]);
  setsid();
  CHECK(chdir("/") == 0);
  PipeReport report(ends[1]);
  const int code = serve(report);
  std::exit(code);
}

int run_in_foreground(const std::function<int(StartReport&)>& serve) {
  TerminalReport report;
  return serve(report);
}

#if LARDER_HAVE_SYSTEMD
void notify_service_manager(const char* state) {
  sd_notify(0, state);
}
#else
void notify_service_manager(const char*) {}
#endif

}  // namespace larder::app
