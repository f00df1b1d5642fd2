#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <thread>

#include "app/commands.h"
#include "app/exit_codes.h"
#include "app/path_list.h"
#include "app/warm_paths.h"
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

// The mount's own words, "CODE MESSAGE", say all.
std::unexpected<Error> in_its_words(const Error& error) {
  return fail(Code::kInvalid, error.detail().substr(error.detail().find(' ') + 1));
}

Result<std::string> ask(control::ControlClient& client, const std::string& command) {
  TRY_ASSIGN(auto replies, client.run(command + "\n"));
  if (!replies.front()) return in_its_words(replies.front().error());
  return std::move(replies.front());
}

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
    TRY(ask(client_, "warm-end " + job_));
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
    TRY_ASSIGN(const std::string json, ask(client_, "warm-status " + job_));
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
        if (!result) return in_its_words(result.error());
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

// What is to be said of the user's own paths besides what the mount says.
struct Remarks {
  uint64_t refused = 0;            // paths that cannot be on the mount
  std::vector<std::string> first;  // of these, why
  bool some_count_from_root = false;
  void add(std::string line) {
    constexpr size_t kNamed = 10;
    if (++refused <= kNamed) first.push_back(std::move(line));
  }
};

Result<void> add_path(WarmJob& job, const PathsOfUser& paths, const std::string& path,
                      Remarks& remarks) {
  remarks.some_count_from_root |= paths.counts_from_root(path);
  const auto wanted = paths.on_mount(path);
  if (wanted) return job.add(*wanted);
  remarks.add(wanted.error().detail());
  return {};
}

Result<void> add_list(WarmJob& job, const WarmArguments& arguments, const PathsOfUser& paths,
                      Remarks& remarks) {
  const int fd =
      arguments.from == "-" ? STDIN_FILENO : open(arguments.from.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return fail_errno(arguments.from);
  PathReader reader(fd, arguments.null_separated ? std::optional('\0') : std::nullopt);
  while (true) {
    TRY_ASSIGN(const auto path, reader.next());
    if (!path) break;
    TRY(add_path(job, paths, *path, remarks));
  }
  if (fd != STDIN_FILENO) close(fd);
  return {};
}

// A MOUNTPOINT that is a path on the mount is what is to be loaded, if nothing else is named.
Result<std::vector<std::string>> paths_to_warm(const WarmArguments& arguments,
                                               const WarmPlace& place) {
  if (place.path == ".") return arguments.paths;
  if (arguments.paths.empty() && arguments.from.empty())
    return std::vector<std::string>{place.mountpoint + "/" + place.path};
  return fail(Code::kInvalid,
              fmt::format("'{}' is a path on the mount {}: name the mount first, then what to load",
                          arguments.mountpoint, place.mountpoint));
}

Result<control::WarmStatus> warm(const WarmArguments& arguments, Remarks& remarks) {
  TRY_ASSIGN(const WarmPlace place, find_warm_place(arguments.mountpoint));
  TRY_ASSIGN(const auto paths, paths_to_warm(arguments, place));
  TRY_ASSIGN(auto client,
             control::ControlClient::open(fmt::format(
                 "{}/{}/{}", place.mountpoint, arguments.control_dir, control::kControlFile)));
  TRY_ASSIGN(const std::string job_number, ask(client, "warm-begin"));
  const bool whole_mount = paths.empty() && arguments.from.empty();
  WarmJob job(std::move(client), job_number, arguments.recursive || whole_mount);
  for (const std::string& path : paths) TRY(add_path(job, place.paths, path, remarks));
  if (whole_mount) TRY(job.add("."));
  if (!arguments.from.empty()) TRY(add_list(job, arguments, place.paths, remarks));
  return job.finish();
}

int run_warm(const WarmArguments& arguments) {
  Remarks remarks;
  auto status = warm(arguments, remarks);
  if (!status) {
    complain(status.error().is(Code::kInvalid) ? status.error().detail()
                                               : status.error().message());
    return kExitFailed;
  }
  status->files_failed += remarks.refused;
  output("{}\n", warm_summary(*status));
  for (const std::string& path : status->missing) complain(missing_line(path));
  if (!status->missing.empty() && remarks.some_count_from_root)
    complain("relative paths count from the mount's root, as the current directory is elsewhere");
  for (const std::string& error : status->errors) complain(error);
  for (const std::string& line : remarks.first) complain(line);
  const bool found_nothing = status->files_done == 0 && status->files_missing != 0;
  return status->files_failed == 0 && !found_nothing ? kExitOk : kExitFailed;
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
      "mount, else to the mount's root. A MOUNTPOINT that is a path on the mount is loaded "
      "itself.\n"
      "Missing files are counted and the first few named; it is an error only when nothing was "
      "found.");
  return [arguments] { return run_warm(*arguments); };
}

}  // namespace larder::app
