#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <memory>
#include <thread>

#include "app/commands.h"
#include "app/config.h"
#include "app/daemonize.h"
#include "app/exit_codes.h"
#include "app/keys.h"
#include "app/mount.h"
#include "app/preflight.h"
#include "app/remount.h"
#include "app/stop_signals.h"
#include "base/limited_log.h"

namespace larder::app {
namespace {

Result<MountRequest> prepare(const MountArguments& arguments, Config config) {
  TRY_ASSIGN(const Surroundings surroundings, Surroundings::of_this_process());
  TRY_ASSIGN(const CheckedPaths paths,
             preflight(config, arguments.source, arguments.mountpoint, surroundings));
  for (const std::string& note : paths.notes) complain(note);
  config.cache_dir = paths.cache_dir;
  for (Setting& setting : config.effective)
    if (setting.key == "cache_dir") setting.value = paths.cache_dir;
  return MountRequest{std::move(config), paths.source, paths.mountpoint};
}

// Asks the mount for a name of its root, as any program would.  Whatever the daemon says is an
// answer; ENOTCONN means that there is none any more.
bool mount_answers(const MountRequest& request) {
  const std::string path = request.mountpoint + "/" + request.config.control_dir;
  // Asked by a process of its own that holds nothing of ours.  A thread that waits for its own
  // process's answer in the kernel would keep that process, killed meanwhile, and with it the
  // mount, for ever.
  const pid_t child = fork();
  if (child == 0) {
    close_range(0, ~0U, 0);
    struct stat status;
    const bool answers =
        lstat(path.c_str(), &status) == 0 || (errno != ENOTCONN && errno != ECONNABORTED);
    _exit(answers ? 0 : 1);
  }
  if (child < 0) return true;  // not known; the first who asks will see
  int status = 0;
  while (waitpid(child, &status, 0) < 0)
    if (errno != EINTR) return true;
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

int serve(const MountRequest& request, StartReport& report) {
  StopSignals signals;
  umask(0);  // modes come from the callers, who have applied their own
  log::set_level(request.config.log_level);
  auto mount = Mount::start(request);
  if (!mount) {
    report.failed(kExitMountFailed, mount.error().detail());
    return kExitMountFailed;
  }
  signals.watch([&] { (*mount)->request_stop(); });
  std::thread prober([&] {
    if (!mount_answers(request)) return;
    notify_service_manager("READY=1");
    report.ready();
  });
  const Result<void> served = (*mount)->run();
  log::finish_limited();
  signals.unwatch();  // the mount is to be taken down
  prober.join();
  notify_service_manager("STOPPING=1");
  if (!served) {
    log::error("{}", served.error().message());
    report.failed(kExitFailed, served.error().message());
    return kExitFailed;
  }
  report.failed(kExitMountFailed, "unmounted before it was ready");
  return kExitOk;
}

void add_options(CLI::App& app, MountArguments& arguments, std::vector<std::string>& options) {
  app.add_flag("-f,--foreground", arguments.foreground, "Stay in the foreground, log to stderr");
  app.add_option("-c,--config", arguments.config_file, "Read keys from this INI file first")
      ->type_name("FILE");
  app.add_option("-o,--options", options, "Set keys; wins over the file")
      ->type_name("KEY=VALUE[,KEY=VALUE...]")
      ->allow_extra_args(false);
  app.add_option("SOURCE", arguments.source, "The directory to be cached")->required();
  app.add_option("MOUNTPOINT", arguments.mountpoint, "Where to show it")->required();
}

}  // namespace

std::string join_options(const std::vector<std::string>& options) {
  return fmt::format("{}", fmt::join(options, ","));
}

Result<Config> load_config(const MountArguments& arguments) {
  std::vector<Setting> settings;
  if (!arguments.config_file.empty()) {
    TRY_ASSIGN(settings, read_ini_file(arguments.config_file));
  }
  TRY_ASSIGN(const auto options, parse_options(arguments.options));
  settings.insert(settings.end(), options.begin(), options.end());
  return make_config(settings);
}

int mount_and_serve(const MountArguments& arguments) {
  if (asks_for_remount(arguments.options)) return remount(arguments);
  auto config = load_config(arguments);
  if (!config) {
    complain(config.error().detail());
    return kExitUsage;
  }
  auto request = prepare(arguments, std::move(*config));
  if (!request) {
    complain(request.error().detail());
    return kExitMountFailed;
  }
  const std::string& log_file = request->config.log_file;
  if (arguments.foreground) {
    if (!log_file.empty()) log::set_file(log_file);
    return run_in_foreground([&](StartReport& report) { return serve(*request, report); });
  }
  return run_in_background([&](StartReport& report) {
    log::set_file(log_file);
    return serve(*request, report);
  });
}

Command set_up_mount(CLI::App& app) {
  const auto arguments = std::make_shared<MountArguments>();
  const auto options = std::make_shared<std::vector<std::string>>();
  add_options(app, *arguments, *options);
  app.footer(
      "Returns when the mount answers (-f: when it is unmounted).\n\n"
      "Keys, for -o and for [mount] in the INI file, with their [defaults]:\n" +
      keys_help() +
      "  nosuid, nodev, noexec, noatime, sync and their opposites go to the kernel; rw, and what "
      "fstab\n"
      "  has besides (noauto, nofail, user, _netdev, x-*, ...), is taken as well.\n"
      "  A comma or backslash in a value is written \\, or \\\\.");
  return [arguments, options] {
    arguments->options = join_options(*options);
    return mount_and_serve(*arguments);
  };
}

}  // namespace larder::app
