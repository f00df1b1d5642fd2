#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <utility>
#include <vector>

#include "app/commands.h"
#include "app/exit_codes.h"

namespace larder::app {
namespace {

void add_command(CLI::App& app, std::vector<std::pair<CLI::App*, Command>>& commands,
                 const std::string& name, const std::string& description,
                 Command (*set_up)(CLI::App&)) {
  CLI::App* command = app.add_subcommand(name, description);
  commands.emplace_back(command, set_up(*command));
}

int usage_error(const CLI::App& app, const CLI::ParseError& error, std::string_view first_word) {
  const auto chosen = app.get_subcommands();
  if (chosen.empty() && !first_word.empty() && !first_word.starts_with('-')) {
    complain(
        fmt::format("unknown command '{}': the commands are mount, umount, status, warm, "
                    "record, simulate, check, inspect",
                    first_word));
    return kExitUsage;
  }
  const std::string command = chosen.empty() ? "larder" : "larder " + chosen.front()->get_name();
  fmt::print(stderr, "larder: {}: `{} --help` shows the usage\n", error.what(), command);
  return kExitUsage;
}

}  // namespace

void complain(std::string_view line) {
  fmt::print(stderr, "larder: {}\n", line);
}

int run_command_line(int argc, char** argv) {
  if (argc > 0 && std::filesystem::path(argv[0]).filename() == "mount.larder")
    return run_mount_helper(argc, argv);

  CLI::App app("Larder shows a slow directory as a fast one, through a cache on the local disk.",
               "larder");
  app.set_version_flag("--version", "larder " LARDER_VERSION);
  app.require_subcommand(1);
  app.footer(
      "Exit codes: 0 done, 1 failed, 2 usage, 32 mount failure.\n"
      "larder COMMAND --help shows a command's options; larder(1) is the manual.");
  std::vector<std::pair<CLI::App*, Command>> commands;
  add_command(app, commands, "mount", "Mount SOURCE through the cache at MOUNTPOINT", set_up_mount);
  add_command(app, commands, "umount", "Unmount and wait until the daemon has ended",
              set_up_umount);
  add_command(app, commands, "status", "Show what a mount, or every mount, is doing",
              set_up_status);
  add_command(app, commands, "warm", "Load files into the cache", set_up_warm);
  add_command(app, commands, "record", "Record a mount's accesses as a trace for simulate",
              set_up_record);
  add_command(app, commands, "simulate", "Compare eviction policies on a trace of requests",
              set_up_simulate);
  add_command(app, commands, "check", "Look for damage in a cache directory", set_up_check);
  add_command(app, commands, "inspect", "Show what is in a cache directory", set_up_inspect);
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& wanted) {
    return app.exit(wanted);  // --help, --version
  } catch (const CLI::ParseError& error) {
    return usage_error(app, error, argc > 1 ? argv[1] : "");
  }
  for (const auto& [command, run] : commands)
    if (command->parsed()) return run();
  return kExitUsage;
}

}  // namespace larder::app
