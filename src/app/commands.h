// The commands of the command line, one file each.  Each adds its subcommand with its options to
// the parser; the returned function runs it after parsing and gives the exit code.
#pragma once

#include <CLI/App.hpp>
#include <CLI/Error.hpp>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "app/config.h"
#include "app/standard_streams.h"
#include "base/error.h"

namespace larder::app {

using Command = std::function<int()>;

// Prints what --help or --version asks for; the exit code.
int print_wanted(const CLI::App& app, const CLI::Success& wanted);

// `app` is the subcommand's own parser.
Command set_up_mount(CLI::App& app);
Command set_up_umount(CLI::App& app);
Command set_up_record(CLI::App& app);
Command set_up_simulate(CLI::App& app);
Command set_up_status(CLI::App& app);
Command set_up_warm(CLI::App& app);
Command set_up_check(CLI::App& app);
Command set_up_inspect(CLI::App& app);

// The whole command line; argv[0] named mount.larder or mount.fuse.larder behaves as a helper of
// mount(8).
int run_command_line(int argc, char** argv);

enum class MountForm {
  kOfMountProgram,  // SOURCE MOUNTPOINT [-sfnv] [-o OPTIONS] [-t TYPE], as mount(8) calls it
  kWithoutCommand,  // the same with the options of `larder mount`, as mount.fuse3(8) calls it
};
int run_mount_helper(int argc, char** argv, MountForm form);

// One mount, as the user asked for it.
struct MountArguments {
  bool foreground = false;
  std::string config_file;
  std::string options;  // of all -o, joined with commas
  std::string source;
  std::string mountpoint;
};
int mount_and_serve(const MountArguments& arguments);
Result<Config> load_config(const MountArguments& arguments);
std::string join_options(const std::vector<std::string>& options);

}  // namespace larder::app
