#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <iterator>
#include <memory>

#include "app/commands.h"
#include "app/distant_mounts.h"
#include "app/exit_codes.h"
#include "app/mount_table.h"
#include "app/values.h"
#include "control/client.h"
#include "larder/control.h"

namespace larder::app {
namespace {

struct StatusArguments {
  bool json = false;
  std::string timeout = "10s";
  std::string control_dir = ".larder";
  std::string mountpoint;
};

std::string status_file(const MountEntry& mount, const StatusArguments& arguments) {
  return fmt::format("{}/{}/{}", mount.mountpoint, arguments.control_dir,
                     arguments.json ? control::kStatsFile : control::kStatusFile);
}

std::string why_no_status(const MountEntry& mount, const Error& error) {
  const std::string& place = mount.mountpoint;
  if (error.is(static_cast<Code>(ENOTCONN)))
    return fmt::format("{}: its daemon is gone: clear it with `larder umount {}`", place, place);
  if (error.is(static_cast<Code>(EACCES)) || error.is(static_cast<Code>(EPERM)))
    return fmt::format("{}: only the mount's owner and root may see its status", place);
  if (error.is(static_cast<Code>(ETIMEDOUT)))
    return fmt::format("{}: its daemon does not answer", place);
  if (error.is(Code::kNotFound))
    return fmt::format("{}: no control directory there: name it with --control-dir", place);
  return fmt::format("{}: {}", place, error.message());
}

int show_one(const StatusArguments& arguments, Nanos timeout) {
  const auto mount = larder_mount_of(arguments.mountpoint);
  if (!mount) {
    const std::string elsewhere = living_on_elsewhere(arguments.mountpoint);
    complain(elsewhere.empty() ? mount.error().detail()
                               : fmt::format("not mounted here: {}", elsewhere));
    return kExitFailed;
  }
  const auto text = control::read_virtual_file(status_file(*mount, arguments), timeout);
  if (!text) {
    complain(why_no_status(*mount, text.error()));
    return kExitFailed;
  }
  output("{}", *text);
  return kExitOk;
}

// With --json: an array with an element for each mount that answers.
int show_all(const StatusArguments& arguments, Nanos timeout) {
  const auto table = read_mount_table();
  if (!table) {
    complain(table.error().message());
    return kExitFailed;
  }
  std::vector<MountEntry> mounts;
  std::ranges::copy_if(*table, std::back_inserter(mounts), &MountEntry::is_larder);
  std::vector<std::string> paths;
  for (const MountEntry& mount : mounts) paths.push_back(status_file(mount, arguments));
  const auto answers = control::read_virtual_files(paths, timeout);
  int code = kExitOk;
  std::vector<std::string> texts;
  for (size_t i = 0; i < mounts.size(); ++i) {
    if (answers[i]) {
      texts.push_back(*answers[i]);
    } else {
      complain(why_no_status(mounts[i], answers[i].error()));
      code = kExitFailed;
    }
  }
  for (const DistantMount& mount : distant_larder_mounts())
    complain(fmt::format("not mounted here: {}", describe(mount)));
  if (arguments.json)
    output("[{}]\n", fmt::join(texts, ","));
  else if (texts.empty() && code == kExitOk)
    output("no larder is mounted\n");
  else
    output("{}", fmt::join(texts, "\n"));
  return code;
}

int run_status(const StatusArguments& arguments) {
  const auto timeout = parse_duration(arguments.timeout);
  if (!timeout) {
    complain(fmt::format("bad value '{}' for --timeout: {}accepted: a time (ms, s, m, h)",
                         arguments.timeout, missing_unit(arguments.timeout)));
    return kExitUsage;
  }
  return arguments.mountpoint.empty() ? show_all(arguments, *timeout)
                                      : show_one(arguments, *timeout);
}

}  // namespace

Command set_up_status(CLI::App& app) {
  const auto arguments = std::make_shared<StatusArguments>();
  app.add_flag("--json", arguments->json, "The numbers, as JSON (an array without MOUNTPOINT)");
  app.add_option("--timeout", arguments->timeout, "How long to wait for an answer [10s]")
      ->type_name("TIME");
  app.add_option("--control-dir", arguments->control_dir,
                 "The mount's control_dir=, if not .larder")
      ->type_name("NAME");
  app.add_option("MOUNTPOINT", arguments->mountpoint, "The mount, or any path on it; without: all");
  return [arguments] { return run_status(*arguments); };
}

}  // namespace larder::app
