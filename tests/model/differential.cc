// Random operations on a larder mount and on a plain directory, side by side.
//
//   differential [--seconds N | --seeds N] [--from S] [--operations N] [--noise N] [--verbose]
//   differential --outside [--source disk|tmpfs|sshfs] [--seconds N | --seeds N] ...
//   LARDER_TEST_SEED=S differential      that seed alone
//
// With --outside the source is changed behind the mount while programs keep files and directories
// open, and the yardstick is what the same programs see without larder on a second source.
//
// A failing seed is shrunk, and the line that repeats it is printed.
#include <fmt/format.h>
#include <stdlib.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <map>
#include <numeric>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "model/outside_run.h"
#include "model/run.h"
#include "model/trial.h"
#include "support/larder_mount.h"
#include "support/source_directory.h"

namespace larder::model {
namespace {

constexpr int kSkipped = 77;  // as Meson has it
constexpr unsigned kShrinkSeconds = 60;

struct Arguments {
  unsigned seconds = 60;
  uint64_t seeds = 0;  // so many, whatever the time; 0: until the time is up
  std::optional<uint64_t> from;
  size_t operations = 600;
  unsigned noise = 0;
  bool verbose = false;
  bool no_shrink = false;
  bool go_on = false;  // after a seed that fails
  bool outside = false;
  testing_support::SourceKind source = testing_support::SourceKind::kDisk;
  bool native = false;
  std::vector<std::string> without;
};

const std::map<std::string, unsigned> kGroups = {{"open-files", outside::kOpenFiles},
                                                 {"open-directories", outside::kOpenDirectories},
                                                 {"moved-directories", outside::kMovedDirectories},
                                                 {"storms", outside::kStorms},
                                                 {"in-place", outside::kInPlace},
                                                 {"away-names", outside::kAwayNames}};

unsigned groups_of(const Arguments& arguments) {
  unsigned groups = 0;
  for (const std::string& name : arguments.without) groups |= kGroups.at(name);
  return groups;
}

Trial trial_of(uint64_t seed, const Arguments& arguments) {
  if (!arguments.outside) return make_trial(seed, arguments.operations, arguments.noise);
  return outside::make_trial(seed, arguments.operations, arguments.source, arguments.native,
                             groups_of(arguments));
}

std::string arguments_of(const Arguments& arguments) {
  if (!arguments.outside)
    return fmt::format("--operations {} --noise {}", arguments.operations, arguments.noise);
  return fmt::format(
      "--outside --source {}{}{} --operations {}", testing_support::name_of(arguments.source),
      arguments.native ? " --native" : "",
      arguments.without.empty() ? ""
                                : fmt::format(" --without {}", fmt::join(arguments.without, " ")),
      arguments.operations);
}

void report(uint64_t seed, const Arguments& arguments, const Trial& trial,
            const std::vector<size_t>& all, const Mounted& result) {
  const size_t step = result.failure->step;
  fmt::print("seed {} failed after operation {}, {}\n  {}\n  options: {}\n", seed, step,
             trial.operations[step], result.failure->text, trial.setup);
  fmt::print("repeat with: LARDER_TEST_SEED={} {} {}\n", seed, program_invocation_name,
             arguments_of(arguments));
  if (!result.log.empty()) fmt::print("larder says:\n{}\n", result.log);
  std::fflush(stdout);
  std::vector<size_t> few(all.begin(), all.begin() + static_cast<ptrdiff_t>(step) + 1);
  if (arguments.no_shrink) return;
  few = shrink(trial, std::move(few), kShrinkSeconds);
  fmt::print("{} operations:\n", few.size());
  for (const size_t i : few) fmt::print("  {:4} {}\n", i, trial.operations[i]);
  const Mounted again = trial.run(few, false);
  fmt::print("which end with: {}\n", again.failure ? again.failure->text : "no failure this time");
}

int test(uint64_t seed, const Arguments& arguments) {
  const Trial trial = trial_of(seed, arguments);
  if (arguments.verbose) {
    fmt::print("seed {}: {}\n", seed, trial.setup);
    std::fflush(stdout);
  }
  std::vector<size_t> all(trial.operations.size());
  std::iota(all.begin(), all.end(), size_t{0});
  const Mounted result = trial.run(all, false);
  if (!result.problem.empty()) {
    fmt::print("cannot mount: {}\n", result.problem);
    return 1;
  }
  if (!result.failure) return 0;
  report(seed, arguments, trial, all, result);
  return 1;
}

int test_all(const Arguments& arguments) {
  using std::chrono::steady_clock;
  if (const char* seed = getenv("LARDER_TEST_SEED"))
    return test(strtoull(seed, nullptr, 10), arguments);
  const auto until = steady_clock::now() + std::chrono::seconds(arguments.seconds);
  uint64_t seed = arguments.from ? *arguments.from : std::random_device()();
  size_t runs = 0, failures = 0;
  do {
    failures += test(seed++, arguments) == 0 ? 0 : 1;
    ++runs;
    if (failures != 0 && !arguments.go_on) return 1;
  } while (arguments.seeds != 0 ? runs < arguments.seeds : steady_clock::now() < until);
  fmt::print("{} of {} seeds of {} operations passed\n", runs - failures, runs,
             arguments.operations);
  if (arguments.outside)
    fmt::print("a change in place came through to open files after {} ms at most\n",
               outside::slowest_ms());
  return failures == 0 ? 0 : 1;
}

}  // namespace
}  // namespace larder::model

int main(int argc, char** argv) {
  larder::model::Arguments arguments;
  CLI::App app{"Random operations on a larder mount and on a plain directory, compared."};
  app.add_option("--seconds", arguments.seconds, "How long to go on with new seeds");
  app.add_option("--seeds", arguments.seeds, "How many seeds to try, instead of a time");
  app.add_option("--from", arguments.from, "The first seed; a random one by default");
  app.add_option("--operations", arguments.operations, "Operations of each seed");
  app.add_option("--noise", arguments.noise, "Threads that read the mount all the while");
  app.add_flag("--verbose", arguments.verbose, "Say what each seed chooses");
  app.add_flag("--no-shrink", arguments.no_shrink, "Leave a failing run as it is");
  app.add_flag("--go-on", arguments.go_on, "Go on after a seed that fails");
  app.add_flag("--outside", arguments.outside,
               "With changes behind the mount while programs keep files and directories open");
  const std::map<std::string, larder::testing_support::SourceKind> kinds = {
      {"disk", larder::testing_support::SourceKind::kDisk},
      {"tmpfs", larder::testing_support::SourceKind::kTmpfs},
      {"sshfs", larder::testing_support::SourceKind::kSshfs}};
  app.add_option("--source", arguments.source, "What --outside changes behind the mount")
      ->transform(CLI::CheckedTransformer(kinds));
  app.add_flag("--native", arguments.native,
               "With --outside: the source itself in the mount's place, to test the test");
  app.add_option("--without", arguments.without, "Groups of operations that --outside does without")
      ->check(CLI::IsMember(larder::model::kGroups));
  CLI11_PARSE(app, argc, argv);
  std::string why = larder::testing_support::LarderMount::why_unavailable();
  if (why.empty() && arguments.outside)
    why = larder::testing_support::why_unavailable(arguments.source);
  if (!why.empty()) {
    fmt::print("skipped: {}\n", why);
    return larder::model::kSkipped;
  }
  return larder::model::test_all(arguments);
}
