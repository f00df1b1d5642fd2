#include <fmt/format.h>
#include <sys/stat.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <sstream>
#include <utility>
#include <vector>

#include "app/commands.h"
#include "app/exit_codes.h"
#include "app/nearest.h"

namespace larder::app {
namespace {

const CLI::App* find_command(const CLI::App& app, const std::string& name) {
  for (const CLI::App* command : app.get_subcommands({}))
    if (command->get_name() == name) return command;
  return nullptr;
}

std::string unknown_command(const CLI::App& app, const std::string& word) {
  std::vector<std::string> names;
  for (const CLI::App* command : app.get_subcommands({})) names.push_back(command->get_name());
  const std::vector<std::string_view> views(names.begin(), names.end());
  const std::string_view near = nearest_word(word, views);
  return fmt::format("unknown command '{}': {}", word,
                     near.empty() ? fmt::format("the commands are {}", fmt::join(names, ", "))
                                  : fmt::format("did you mean '{}'?", near));
}

Command set_up_help(CLI::App& app) {
  const auto topic = std::make_shared<std::string>();
  app.add_option("COMMAND", *topic, "The command to explain; without: all of them");
  return [&app, topic] {
    const CLI::App& top = *app.get_parent();
    const CLI::App* command = topic->empty() ? nullptr : find_command(top, *topic);
    if (!topic->empty() && command == nullptr) {
      complain(unknown_command(top, *topic));
      return kExitUsage;
    }
    write_output(command == nullptr ? top.get_formatter()->make_help(&top, top.get_name(),
                                                                     CLI::AppFormatMode::Normal)
                                    : command->help("larder"));
    return kExitOk;
  };
}

using Commands = std::vector<std::pair<CLI::App*, Command>>;

void add_command(CLI::App& app, Commands& commands, const std::string& name,
                 const std::string& description, Command (*set_up)(CLI::App&)) {
  CLI::App* command = app.add_subcommand(name, description);
  commands.emplace_back(command, set_up(*command));
}

Commands add_commands(CLI::App& app) {
  Commands commands;
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
  add_command(app, commands, "help", "Show the options of a command", set_up_help);
  return commands;
}

// `larder SOURCE MOUNTPOINT ...`, as mount.fuse3(8) and people who know sshfs(1) write it.  A word
// without a slash that is no directory is a command, misspelt.
bool is_mount_without_command(const CLI::App& app, const std::string& first_word) {
  constexpr std::array<std::string_view, 6> kFlags{"-o", "-f", "-c", "-n", "-s", "-v"};
  if (std::ranges::find(kFlags, first_word) != kFlags.end()) return true;
  if (first_word.starts_with('-') || find_command(app, first_word) != nullptr) return false;
  struct stat status;
  return first_word.find('/') != std::string::npos ||
         (stat(first_word.c_str(), &status) == 0 && S_ISDIR(status.st_mode));
}

int usage_error(const CLI::App& app, const CLI::ParseError& error, const std::string& first_word) {
  const auto chosen = app.get_subcommands();
  if (chosen.empty() && !first_word.empty() && !first_word.starts_with('-')) {
    complain(unknown_command(app, first_word));
    return kExitUsage;
  }
  const std::string command = chosen.empty() ? "larder" : "larder " + chosen.front()->get_name();
  complain(fmt::format("{}: `{} --help` shows the usage", error.what(), command));
  return kExitUsage;
}

}  // namespace

int print_wanted(const CLI::App& app, const CLI::Success& wanted) {
  std::ostringstream text;
  const int code = app.exit(wanted, text, text);
  write_output(text.str());
  return code;
}

int run_command_line(int argc, char** argv) {
  if (argc > 0) {
    const std::string name = std::filesystem::path(argv[0]).filename();
    if (name == "mount.larder" || name == "mount.fuse.larder")
      return run_mount_helper(argc, argv, MountForm::kOfMountProgram);
  }
  CLI::App app("Larder shows a slow directory as a fast one, through a cache on the local disk.",
               "larder");
  app.set_version_flag("-V,--version", "larder " LARDER_VERSION);
  app.require_subcommand(1);
  app.footer(
      "Exit codes: 0 done, 1 failed, 2 usage, 32 mount failure.\n"
      "larder COMMAND --help shows a command's options; larder(1) is the manual.\n"
      "larder SOURCE MOUNTPOINT [-o ...] mounts, too.");
  const Commands commands = add_commands(app);
  const std::string first_word = argc > 1 ? argv[1] : "";
  if (is_mount_without_command(app, first_word))
    return run_mount_helper(argc, argv, MountForm::kWithoutCommand);
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& wanted) {
    return print_wanted(app, wanted);
  } catch (const CLI::ParseError& error) {
    return usage_error(app, error, first_word);
  }
  for (const auto& [command, run] : commands)
    if (command->parsed()) return run();
  return kExitUsage;
}

}  // namespace larder::app
