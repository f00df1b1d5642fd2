#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <thread>

#include "app/commands.h"
#include "app/exit_codes.h"
#include "app/mount_table.h"
#include "app/path_list.h"
#include "app/warm_progress.h"
#include "base/clock.h"
#include "control/client.h"
#include "control/command.h"
#include "control/warm.h"
#include "larder/control.h"

namespace larder::app {
namespace {

struct WarmArguments {
  bool recursive = false;
  bool null_separated = false;
  std::string from;
  std::string control_dir = ".larder";
  std::string mountpoint;
  std::vector<std::string> paths;
};

// Sends one job's paths in full writes and follows it to its end.
class WarmJob {
 public:
  WarmJob(control::ControlClient client, std::string job, bool recursive)
      : client_(std::move(client)), job_(std::move(job)), recursive_(recursive) {}

  Result<void> add(const std::string& path) {
    const std::string line =
        fmt::format("warm-add {} {}{}\n", job_, recursive_ ? "r " : "", control::encode_word(path));
    if (pending_.size() + line.size() > control::kControlWriteMax) TRY(send());
    pending_ += line;
    return {};
  }
  // Returns when everything is done.
  Result<control::WarmStatus> finish() {
    TRY(send());
    TRY(client_.run_one("warm-end " + job_));
    for (Nanos pause = kPauseMin;; pause = std::min(pause * 2, kPauseMax)) {
      TRY_ASSIGN(control::WarmStatus status, show());
      if (status.done) return status;
      std::this_thread::sleep_for(pause);
    }
  }

 private:
  static constexpr Nanos kPauseMin = std::chrono::milliseconds(2);
  static constexpr Nanos kPauseMax = std::chrono::milliseconds(200);

  Result<control::WarmStatus> show() {
    TRY_ASSIGN(const std::string json, client_.run_one("warm-status " + job_));
    TRY_ASSIGN(auto status, control::parse_warm_status(json));
    progress_.show(status);
    return status;
  }

  // Until the daemon has taken every line; what its queue has no room for is sent again.
  Result<void> send() {
    for (Nanos pause = kPauseMin; !pending_.empty(); pause = std::min(pause * 2, kPauseMax)) {
      TRY_ASSIGN(const auto results, client_.run(pending_));
      std::string refused;
      std::string_view rest = pending_;
      for (const auto& result : results) {
        if (!result) return fail(result.error());
        const std::string_view line = rest.substr(0, rest.find('\n') + 1);
        rest.remove_prefix(line.size());
        if (result->starts_with("busy")) refused += line;
      }
      const bool is_stuck = refused.size() == pending_.size();
      pending_ = std::move(refused);
      TRY(show());
      if (!is_stuck) pause = kPauseMin;
      if (!pending_.empty()) std::this_thread::sleep_for(pause);
    }
    return {};
  }

  control::ControlClient client_;
  const std::string job_;
  const bool recursive_;
  std::string pending_;
  WarmProgress progress_{Clock::system()};
};

// Paths as the user writes them, brought to the mount's root.
struct PathsOfUser {
  std::string mountpoint;        // resolved
  std::string mountpoint_given;  // absolute, perhaps through symlinks
  std::string working_directory;

  Result<std::string> on_mount(const std::string& path) const {
    if (path.starts_with('/') && is_within(path, mountpoint_given))
      return path_on_mount(mountpoint + path.substr(mountpoint_given.size()), mountpoint, {});
    return path_on_mount(path, mountpoint, working_directory);
  }
};

PathsOfUser paths_of_user(const std::string& given, const std::string& mountpoint) {
  std::error_code error;
  const std::string here = std::filesystem::current_path(error).string();
  std::string absolute = std::filesystem::absolute(given).lexically_normal().string();
  while (absolute.size() > 1 && absolute.ends_with('/')) absolute.pop_back();
  const auto resolved = resolve_mountpoint(given);
  const bool is_root = resolved && *resolved == mountpoint;
  return {mountpoint, is_root ? absolute : mountpoint, here};
}

Result<void> add_list(WarmJob& job, const WarmArguments& arguments, const PathsOfUser& paths) {
  const int fd =
      arguments.from == "-" ? STDIN_FILENO : open(arguments.from.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return fail_errno(arguments.from);
  PathReader reader(fd, arguments.null_separated ? std::optional('\0') : std::nullopt);
  while (true) {
    TRY_ASSIGN(const auto path, reader.next());
    if (!path) break;
    TRY_ASSIGN(const std::string wanted, paths.on_mount(*path));
    TRY(job.add(wanted));
  }
  if (fd != STDIN_FILENO) close(fd);
  return {};
}

Result<control::WarmStatus> warm(const WarmArguments& arguments) {
  TRY_ASSIGN(const MountEntry mount, larder_mount_of(arguments.mountpoint));
  TRY_ASSIGN(auto client,
             control::ControlClient::open(fmt::format(
                 "{}/{}/{}", mount.mountpoint, arguments.control_dir, control::kControlFile)));
  TRY_ASSIGN(const std::string job_number, client.run_one("warm-begin"));
  const bool whole_mount = arguments.paths.empty() && arguments.from.empty();
  WarmJob job(std::move(client), job_number, arguments.recursive || whole_mount);
  const PathsOfUser paths = paths_of_user(arguments.mountpoint, mount.mountpoint);
  for (const std::string& path : arguments.paths) {
    TRY_ASSIGN(const std::string wanted, paths.on_mount(path));
    TRY(job.add(wanted));
  }
  if (whole_mount) TRY(job.add("."));
  if (!arguments.from.empty()) TRY(add_list(job, arguments, paths));
  return job.finish();
}

int run_warm(const WarmArguments& arguments) {
  const auto status = warm(arguments);
  if (!status) {
    complain(status.error().is(Code::kInvalid) ? status.error().detail()
                                               : status.error().message());
    return kExitFailed;
  }
  fmt::print("{}\n", warm_summary(*status));
  for (const std::string& error : status->errors) complain(error);
  return status->files_failed == 0 ? kExitOk : kExitFailed;
}

}  // namespace

Command set_up_warm(CLI::App& app) {
  const auto arguments = std::make_shared<WarmArguments>();
  app.add_flag("-r,--recursive", arguments->recursive, "Load directories with all beneath them");
  app.add_option("--from", arguments->from,
                 "Read paths from a file, or from stdin (-), one a line or NUL-separated")
      ->type_name("FILE|-");
  app.add_flag("-0,--null", arguments->null_separated,
               "The list is NUL-separated, whatever it looks like");
  app.add_option("--control-dir", arguments->control_dir,
                 "The mount's control_dir=, if not .larder")
      ->type_name("NAME");
  app.add_option("MOUNTPOINT", arguments->mountpoint, "The mount, or any path on it")->required();
  app.add_option("PATH", arguments->paths, "What to load; without PATH and --from the whole mount");
  app.footer(
      "A PATH is absolute under MOUNTPOINT, or relative to the current directory if that is on "
      "the\n"
      "mount, else to the mount's root. Missing files are counted, they are not an error.");
  return [arguments] { return run_warm(*arguments); };
}

}  // namespace larder::app
