#include <fmt/format.h>

#include <cstdio>
#include <memory>

#include "app/commands.h"
#include "app/exit_codes.h"
#include "app/mount_table.h"
#include "control/client.h"
#include "larder/control.h"

namespace larder::app {
namespace {

constexpr Nanos kAnswerTimeout = std::chrono::seconds(10);

struct StatusArguments {
  bool json = false;
  std::string control_dir = ".larder";
  std::string mountpoint;
};

Result<std::string> read_status(const MountEntry& mount, const StatusArguments& arguments) {
  const char* file = arguments.json ? control::kStatsFile : control::kStatusFile;
  return control::read_virtual_file(
      fmt::format("{}/{}/{}", mount.mountpoint, arguments.control_dir, file), kAnswerTimeout);
}

std::string why_no_status(const MountEntry& mount, const Error& error) {
  const std::string& place = mount.mountpoint;
  if (error.is(static_cast<Code>(ENOTCONN)))
    return fmt::format("{}: its daemon is gone: clear it with `larder umount {}`", place, place);
  if (error.is(static_cast<Code>(EACCES)) || error.is(static_cast<Code>(EPERM)))
    return fmt::format("{}: only the mount's owner and root may see its status", place);
  if (error.is(Code::kNotFound))
    return fmt::format("{}: no control directory there: name it with --control-dir", place);
  return fmt::format("{}: {}", place, error.message());
}

int show_one(const StatusArguments& arguments) {
  const auto mount = larder_mount_of(arguments.mountpoint);
  if (!mount) {
    complain(mount.error().detail());
    return kExitFailed;
  }
  const auto text = read_status(*mount, arguments);
  if (!text) {
    complain(why_no_status(*mount, text.error()));
    return kExitFailed;
  }
  fmt::print("{}", *text);
  return kExitOk;
}

// With --json: an array with an element for each mount that answers.
int show_all(const StatusArguments& arguments) {
  const auto table = read_mount_table();
  if (!table) {
    complain(table.error().message());
    return kExitFailed;
  }
  int code = kExitOk;
  std::vector<std::string> texts;
  for (const MountEntry& mount : *table) {
    if (!mount.is_larder()) continue;
    if (auto text = read_status(mount, arguments)) {
      texts.push_back(std::move(*text));
    } else {
      complain(why_no_status(mount, text.error()));
      code = kExitFailed;
    }
  }
  if (arguments.json)
    fmt::print("[{}]\n", fmt::join(texts, ","));
  else if (texts.empty() && code == kExitOk)
    fmt::print("no larder is mounted\n");
  else
    fmt::print("{}", fmt::join(texts, "\n"));
  return code;
}

}  // namespace

Command set_up_status(CLI::App& app) {
  const auto arguments = std::make_shared<StatusArguments>();
  app.add_flag("--json", arguments->json, "The numbers, as JSON (an array without MOUNTPOINT)");
  app.add_option("--control-dir", arguments->control_dir,
                 "The mount's control_dir=, if not .larder")
      ->type_name("NAME");
  app.add_option("MOUNTPOINT", arguments->mountpoint, "The mount, or any path on it; without: all");
  return [arguments] {
    return arguments->mountpoint.empty() ? show_all(*arguments) : show_one(*arguments);
  };
}

}  // namespace larder::app
