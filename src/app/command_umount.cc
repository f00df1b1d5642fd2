#include <fmt/format.h>
#include <poll.h>
#include <spawn.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <memory>
#include <thread>

#include "app/commands.h"
#include "app/distant_mounts.h"
#include "app/exit_codes.h"
#include "app/mount_table.h"
#include "app/mount_users.h"
#include "app/values.h"
#include "control/client.h"
#include "larder/control.h"

namespace larder::app {
namespace {

constexpr Nanos kBusyMax = std::chrono::seconds(3);
constexpr Nanos kBusyRetry = std::chrono::milliseconds(20);

struct UmountArguments {
  std::string timeout = "60s";
  std::string control_dir = ".larder";
  std::string mountpoint;
};

// Refers to one process for good, unlike its number.
class ProcessHandle {
 public:
  explicit ProcessHandle(int pid) : fd_(static_cast<int>(syscall(SYS_pidfd_open, pid, 0))) {}
  ~ProcessHandle() {
    if (fd_ >= 0) close(fd_);
  }
  ProcessHandle(const ProcessHandle&) = delete;
  ProcessHandle& operator=(const ProcessHandle&) = delete;
  // False when it still runs after the time.
  bool wait_for_end(Nanos timeout) const {
    pollfd watched{fd_, POLLIN, 0};
    const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(timeout).count();
    return fd_ < 0 || poll(&watched, 1, static_cast<int>(std::min<int64_t>(ms, 86'400'000))) > 0;
  }

 private:
  int fd_;
};

// Without it nobody is waited for.
Result<int> daemon_pid(const std::string& mountpoint, const std::string& control_dir) {
  TRY_ASSIGN(const std::string stats,
             control::read_virtual_file(
                 fmt::format("{}/{}/{}", mountpoint, control_dir, control::kStatsFile),
                 std::chrono::seconds(2)));
  return control::parse_pid(stats);
}

// It says on stderr what is wrong, unless it is to be quiet about it.
Result<void> run_fusermount(const std::string& mountpoint, bool aloud) {
  std::string program = "fusermount3";
  std::string flag = aloud ? "-u" : "-uq";
  std::string end_of_flags = "--";
  std::string path = mountpoint;
  char* const arguments[] = {program.data(), flag.data(), end_of_flags.data(), path.data(),
                             nullptr};
  pid_t child = 0;
  const int error = posix_spawnp(&child, "fusermount3", nullptr, nullptr, arguments, environ);
  if (error != 0) return fail(static_cast<Code>(error), "fusermount3 (package fuse3)");
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) return fail(Code::kBusy, mountpoint);
  return {};
}

Result<void> unmount_once(const std::string& mountpoint, bool last) {
  if (geteuid() != 0) return run_fusermount(mountpoint, last);
  if (umount2(mountpoint.c_str(), UMOUNT_NOFOLLOW) != 0) return fail_errno(mountpoint);
  return {};
}

// Somebody who just looks (a file manager, `larder status` of all mounts) makes a mount busy for a
// moment.
Result<void> unmount(const std::string& mountpoint) {
  const Clock& clock = Clock::system();
  const Nanos give_up = clock.monotonic() + kBusyMax;
  for (;;) {
    const bool last = clock.monotonic() >= give_up;
    const auto done = unmount_once(mountpoint, last);
    if (done || last || !done.error().is(Code::kBusy)) return done;
    std::this_thread::sleep_for(kBusyRetry);
  }
}

void explain_failure(const std::string& mountpoint, const Error& error, bool hangs) {
  if (!error.is(Code::kBusy)) return complain(error.message());
  if (hangs)
    return complain(
        fmt::format("{} is busy, and its daemon does not answer: `{} {}` takes it out of the tree",
                    mountpoint, geteuid() == 0 ? "umount -l" : "fusermount3 -uz", mountpoint));
  const auto users = processes_using(mountpoint, 5);
  if (users.empty())
    complain(fmt::format("{} is busy: `fuser -vm {}` shows who uses it (as root: all of them)",
                         mountpoint, mountpoint));
  else
    complain(fmt::format("{} is busy: used by {}: end or leave them and try again", mountpoint,
                         fmt::join(users, ", ")));
}

// What others have of it keeps its daemon, however long that is waited for.
bool lives_on(const ProcessHandle& daemon, const MountEntry& mount, Nanos timeout) {
  constexpr Nanos kUsualEnd = std::chrono::milliseconds(300);
  if (daemon.wait_for_end(std::min(kUsualEnd, timeout))) return false;
  const auto distant = find_distant_mount(mount.device, {});
  if (distant)
    complain(fmt::format("{} is unmounted here, but {}", mount.mountpoint, describe(*distant)));
  return distant.has_value();
}

int run_umount(const UmountArguments& arguments) {
  const auto timeout = parse_duration(arguments.timeout);
  if (!timeout) {
    complain(fmt::format("bad value '{}' for --timeout: {}accepted: a time (ms, s, m, h)",
                         arguments.timeout, missing_unit(arguments.timeout)));
    return kExitUsage;
  }
  const auto place = resolve_mountpoint(arguments.mountpoint);
  if (!place) {
    complain(place.error().message());
    return kExitFailed;
  }
  const auto table = read_mount_table();
  const auto mount = table ? find_mount(*table, *place) : std::nullopt;
  if (!mount || !mount->is_larder()) {
    const auto distant = find_distant_mount({}, *place);
    complain(distant ? fmt::format("not mounted here: {}", describe(*distant))
                     : fmt::format("'{}' is not a larder mount: `larder status` lists them",
                                   arguments.mountpoint));
    return kExitFailed;
  }
  const auto pid = daemon_pid(*place, arguments.control_dir);
  const ProcessHandle daemon(pid ? *pid : -1);
  if (const auto done = unmount(*place); !done) {
    const bool hangs = !pid && pid.error().is(static_cast<Code>(ETIMEDOUT));
    explain_failure(*place, done.error(), hangs);
    return kExitFailed;
  }
  if (lives_on(daemon, *mount, *timeout)) return kExitFailed;
  if (pid && !daemon.wait_for_end(*timeout)) {
    complain(fmt::format("{} is unmounted, but its daemon (pid {}) still runs after {}", *place,
                         *pid, arguments.timeout));
    return kExitFailed;
  }
  announce(fmt::format("{} unmounted", *place));
  return kExitOk;
}

}  // namespace

Command set_up_umount(CLI::App& app) {
  const auto arguments = std::make_shared<UmountArguments>();
  app.add_option("--timeout", arguments->timeout, "How long to wait for the daemon's end [60s]")
      ->type_name("TIME");
  app.add_option("--control-dir", arguments->control_dir,
                 "The mount's control_dir=, if not .larder")
      ->type_name("NAME");
  app.add_option("MOUNTPOINT", arguments->mountpoint, "The mount to be ended")->required();
  return [arguments] { return run_umount(*arguments); };
}

}  // namespace larder::app
