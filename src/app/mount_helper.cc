// `mount -t larder`, `mount -t fuse.larder`, fstab, and `larder SOURCE MOUNTPOINT`.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <filesystem>

#include "app/commands.h"
#include "app/exit_codes.h"
#include "app/mount_table.h"
#include "app/remount.h"

namespace larder::app {
namespace {

struct HelperArguments {
  MountArguments mount;
  std::vector<std::string> options;
  bool sloppy = false;
  bool verbose = false;
  bool no_table = false;
  bool fake = false;
  std::string type;
  std::string mount_namespace;
};

void add_options(CLI::App& app, HelperArguments& arguments, MountForm form) {
  app.add_flag("-s", arguments.sloppy, "Accepted, without effect");
  app.add_flag("-v", arguments.verbose, "Say what is mounted");
  app.add_flag("-n", arguments.no_table, "Accepted, without effect");
  if (form == MountForm::kOfMountProgram) {
    app.add_flag("-f", arguments.fake, "Check the options, do not mount");
    app.add_option("-N", arguments.mount_namespace, "Refused: use nsenter(1)")
        ->type_name("NAMESPACE");
  } else {
    app.add_flag("-f,--foreground", arguments.mount.foreground,
                 "Stay in the foreground, log to stderr");
    app.add_option("-c,--config", arguments.mount.config_file, "Read keys from this INI file first")
        ->type_name("FILE");
  }
  app.add_option("-t", arguments.type, "Accepted, without effect")->type_name("TYPE");
  app.add_option("-o", arguments.options, "Keys and mount(8)'s flags")
      ->type_name("OPTIONS")
      ->allow_extra_args(false);
  app.add_option("SOURCE", arguments.mount.source, "The directory to be cached")->required();
  app.add_option("MOUNTPOINT", arguments.mount.mountpoint, "Where to show it")->required();
}

// `mount -a` asks again for a mount that it does not recognize as the one of fstab (larder#SOURCE).
bool is_mounted_already(const MountArguments& arguments) {
  namespace files = std::filesystem;
  const auto place = resolve_mountpoint(arguments.mountpoint);
  const auto table = read_mount_table();
  if (!place || !table) return false;  // mounting says what is wrong
  const auto mounted = find_mount(*table, *place);
  std::error_code error;
  return mounted && mounted->is_larder() &&
         mounted->source == files::weakly_canonical(arguments.source, error).string();
}

int check_only(const MountArguments& arguments) {
  const auto config = load_config(arguments);
  if (!config) complain(config.error().detail());
  return config ? kExitOk : kExitUsage;
}

int run(HelperArguments& arguments) {
  MountArguments& mount = arguments.mount;
  if (!arguments.mount_namespace.empty()) {
    complain(fmt::format("-N {}: not supported: use `nsenter --mount={} mount ...`",
                         arguments.mount_namespace, arguments.mount_namespace));
    return kExitUsage;
  }
  constexpr std::string_view kTypeInSource = "larder#";
  if (mount.source.starts_with(kTypeInSource)) mount.source.erase(0, kTypeInSource.size());
  mount.options = join_options(arguments.options);
  const bool remounts = asks_for_remount(mount.options);
  if (arguments.fake && !remounts) return check_only(mount);
  if (!remounts && is_mounted_already(mount)) {
    complain(fmt::format("{} is mounted on {} already; nothing is changed", mount.source,
                         mount.mountpoint));
    return kExitOk;
  }
  const int code = mount_and_serve(mount);
  if (arguments.verbose && code == kExitOk && !remounts)
    announce(fmt::format("{} mounted on {}", mount.source, mount.mountpoint));
  return code;
}

}  // namespace

int run_mount_helper(int argc, char** argv, MountForm form) {
  CLI::App app(
      "Mounts larder file systems for mount(8): SOURCE MOUNTPOINT larder OPTIONS in fstab.",
      form == MountForm::kOfMountProgram ? "mount.larder" : "larder");
  HelperArguments arguments;
  add_options(app, arguments, form);
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& wanted) {
    return print_wanted(app, wanted);
  } catch (const CLI::ParseError& error) {
    complain(error.what());
    return kExitUsage;
  }
  return run(arguments);
}

}  // namespace larder::app
