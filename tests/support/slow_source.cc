// slow-source: shows a directory at a mount point, with latency, limited bandwidth, errors, hangs
// and outages on demand. It stands for the slow, failing source under larder in tests,
// demonstrations and benchmarks.
//
//   slow-source [--background] [--control SOCKET] [KEY=VALUE]... DIRECTORY MOUNTPOINT
//   slow-source ctl SOCKET LINE...
//
// Settings: slow_source/faults.h; control lines: slow_source/control.h.  In the foreground it
// writes "ready" to stdout when it is mounted; with --background it returns then.  SIGTERM and
// SIGINT unmount and end it, also while requests hang.  Everything the kernel asks reaches it: no
// attribute, name or (with direct_io=1) data is cached.
#include <fcntl.h>
#include <fmt/format.h>
#include <fuse_lowlevel.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "slow_source/connection.h"
#include "slow_source/control.h"
#include "slow_source/faults.h"
#include "slow_source/operations.h"
#include "slow_source/tree.h"

namespace larder::slow_source {
namespace {

constexpr int kUsage = 2;
constexpr unsigned kThreadsMax = 1024;  // each waiting request has one

struct Arguments {
  bool background = false;
  std::string control;
  std::string subtype = "slow-source";
  std::vector<std::string> settings;
  std::string directory;
  std::string mountpoint;
};

std::optional<Arguments> parse(const std::vector<std::string>& words) {
  Arguments arguments;
  std::vector<std::string> places;
  for (size_t i = 0; i < words.size(); ++i) {
    if (words[i] == "--background") {
      arguments.background = true;
    } else if (words[i] == "--control" && i + 1 < words.size()) {
      arguments.control = words[++i];
    } else if (words[i] == "--subtype" && i + 1 < words.size()) {
      arguments.subtype = words[++i];
    } else if (words[i].starts_with("-")) {
      return std::nullopt;
    } else if (places.empty() && words[i].find('/') == std::string::npos &&
               words[i].find('=') != std::string::npos) {
      arguments.settings.push_back(words[i]);
    } else {
      places.push_back(words[i]);
    }
  }
  if (places.size() != 2) return std::nullopt;
  arguments.directory = places[0];
  arguments.mountpoint = places[1];
  return arguments;
}

// libfuse 3.14 does not pass FUSE_PARALLEL_DIROPS on to the kernel, which then sends one
// look-up of a directory at a time; no network file system does that.  So the flag is put into the
// first reply, which is INIT's.
ssize_t write_reply(int fd, iovec* iov, int count, void*) {
  constexpr uint32_t kParallelDirops = 1U << 18;
  constexpr size_t kFlagsOffset = 12;  // in fuse_init_out: after major, minor, max_readahead
  static std::atomic<bool> initialised{false};
  if (count == 2 && iov[1].iov_len > kFlagsOffset + sizeof(uint32_t) &&
      !initialised.exchange(true)) {
    char* at = static_cast<char*>(iov[1].iov_base) + kFlagsOffset;
    uint32_t flags = 0;
    std::memcpy(&flags, at, sizeof flags);
    flags |= kParallelDirops;
    std::memcpy(at, &flags, sizeof flags);
  }
  return ::writev(fd, iov, count);
}

ssize_t read_request(int fd, void* buffer, size_t length, void*) {
  return ::read(fd, buffer, length);
}

int complain(const std::string& message) {
  fmt::print(stderr, "slow-source: {}\n", message);
  return 1;
}

// Ends the session whatever waits in it: after the abort the session's read fails and its loop
// ends.
void end_session(Faults& faults, const std::string& mountpoint) {
  faults.stop();
  const int connection = connection_of(mountpoint);
  if (umount2(mountpoint.c_str(), 0) == 0) return;
  umount2(mountpoint.c_str(), MNT_DETACH);
  if (connection >= 0) abort_connection(connection);
}

// One thread waits for the signals that end the program, so that no handler is needed.
class Terminator {
 public:
  Terminator(Faults& faults, const std::string& mountpoint)
      : thread_([this, &faults, &mountpoint] {
          int signal = 0;
          const sigset_t signals = watched();
          sigwait(&signals, &signal);
          if (!ended_) end_session(faults, mountpoint);
        }) {}
  ~Terminator() {
    ended_ = true;
    pthread_kill(thread_.native_handle(), SIGTERM);
    thread_.join();
  }
  Terminator(const Terminator&) = delete;
  Terminator& operator=(const Terminator&) = delete;

  static sigset_t watched() {
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGHUP);
    return signals;
  }

 private:
  std::atomic<bool> ended_{false};
  std::thread thread_;
};

// The child goes on; the parent ends when the child says it is ready, or died.
std::optional<int> go_to_background(int* ready_fd) {
  int fds[2];
  if (pipe2(fds, O_CLOEXEC) != 0) return complain(std::strerror(errno));
  const pid_t child = fork();
  if (child < 0) return complain(std::strerror(errno));
  if (child > 0) {
    close(fds[1]);
    char byte = 0;
    return read(fds[0], &byte, 1) == 1 ? 0 : 1;
  }
  setsid();
  *ready_fd = fds[1];
  return std::nullopt;
}

bool say_ready(const Arguments& arguments, int ready_fd) {
  if (!arguments.background) return fputs("ready\n", stdout) >= 0 && fflush(stdout) == 0;
  // Nothing that waits for the end of our output shall wait for this process.
  const int null = open("/dev/null", O_RDWR | O_CLOEXEC);
  for (const int fd : {0, 1, 2}) dup2(null, fd);
  return write(ready_fd, "r", 1) == 1;
}

int serve(const Arguments& arguments, Faults& faults, int ready_fd) {
  const int root = open(arguments.directory.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (root < 0) return complain(fmt::format("{}: {}", arguments.directory, std::strerror(errno)));
  Tree tree(root);
  Context context{faults, tree};

  char program[] = "slow-source", option_flag[] = "-o";
  std::string options = fmt::format("fsname=slow-source,subtype={},default_permissions,allow_other",
                                    arguments.subtype);
  char* argv[] = {program, option_flag, options.data(), nullptr};
  fuse_args args = FUSE_ARGS_INIT(3, argv);
  fuse_session* session = fuse_session_new(&args, &kOperations, sizeof kOperations, &context);
  fuse_opt_free_args(&args);
  if (session == nullptr) return complain("cannot make a session");
  if (fuse_session_mount(session, arguments.mountpoint.c_str()) != 0) {
    fuse_session_destroy(session);
    return complain(fmt::format("cannot mount at {}", arguments.mountpoint));
  }
  fuse_custom_io io{};
  io.read = read_request;
  io.writev = write_reply;
  if (fuse_session_custom_io(session, &io, fuse_session_fd(session)) != 0)
    return complain("cannot set up the session's I/O");

  const auto stop = [&] { end_session(faults, arguments.mountpoint); };
  int status = 0;
  {
    std::optional<ControlServer> control;
    if (!arguments.control.empty()) control.emplace(arguments.control, faults, stop);
    const Terminator terminator(faults, arguments.mountpoint);
    if (control && !control->listening()) {
      status = complain(fmt::format("{}: {}", arguments.control, std::strerror(errno)));
    } else if (!say_ready(arguments, ready_fd)) {
      status = complain("nobody waits for this source");
    } else {
      fuse_loop_config* config = fuse_loop_cfg_create();
      fuse_loop_cfg_set_max_threads(config, kThreadsMax);
      fuse_loop_cfg_set_idle_threads(config, kThreadsMax);  // a thread is kept once it is there
      fuse_session_loop_mt(session, config);  // an aborted connection is an end like another
      fuse_loop_cfg_destroy(config);
    }
  }
  fuse_session_unmount(session);
  fuse_session_destroy(session);
  return status;
}

int run(const std::vector<std::string>& words) {
  if (words.size() >= 3 && words[0] == "ctl") {
    std::string lines;
    for (size_t i = 2; i < words.size(); ++i) lines += words[i] + "\n";
    const std::string reply = control_request(words[1], lines);
    fmt::print("{}", reply);
    return reply.find("error: ") == std::string::npos ? 0 : 1;
  }
  auto arguments = parse(words);
  if (!arguments) {
    fmt::print(
        stderr,
        "usage: slow-source [--background] [--control SOCKET] [KEY=VALUE]... DIRECTORY MOUNTPOINT\n"
        "       slow-source ctl SOCKET KEY=VALUE|counts|reset|stop...\n");
    return kUsage;
  }
  Faults faults;
  for (const std::string& setting : arguments->settings) {
    const size_t equals = setting.find('=');
    const std::string wrong = faults.set(setting.substr(0, equals), setting.substr(equals + 1));
    if (wrong.empty()) continue;
    complain(wrong);
    return kUsage;
  }
  const std::unique_ptr<char, decltype(&free)> resolved(
      realpath(arguments->mountpoint.c_str(), nullptr), &free);
  if (resolved == nullptr)
    return complain(fmt::format("{}: {}", arguments->mountpoint, std::strerror(errno)));
  arguments->mountpoint = resolved.get();

  umask(0);  // the kernel has applied the caller's
  rlimit descriptors;
  if (getrlimit(RLIMIT_NOFILE, &descriptors) == 0) {
    descriptors.rlim_cur = descriptors.rlim_max;
    setrlimit(RLIMIT_NOFILE, &descriptors);
  }
  int ready_fd = -1;
  if (arguments->background) {
    if (const auto status = go_to_background(&ready_fd)) return *status;
  }
  const sigset_t signals = Terminator::watched();  // all threads to come inherit the mask
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  return serve(*arguments, faults, ready_fd);
}

}  // namespace
}  // namespace larder::slow_source

int main(int argc, char** argv) {
  return larder::slow_source::run(std::vector<std::string>(argv + 1, argv + argc));
}
