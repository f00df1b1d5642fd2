// Random operations on a larder mount and on a plain directory, side by side.
//
//   differential [--seconds N | --seeds N] [--from S] [--operations N] [--noise N] [--verbose]
//   LARDER_TEST_SEED=S differential      that seed alone
//
// A failing seed is shrunk, and the line that repeats it is printed.
#include <fmt/format.h>
#include <stdlib.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <optional>
#include <random>

#include "model/run.h"
#include "support/larder_mount.h"

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
};

void report(uint64_t seed, const Arguments& arguments, const Setup& setup,
            const std::vector<Operation>& operations, const Mounted& result) {
  const size_t step = result.failure->step;
  fmt::print("seed {} failed after operation {}, {}\n  {}\n  options: {}; noise: {}\n", seed, step,
             describe(operations[step]), result.failure->text, fmt::join(setup.options, ","),
             setup.noise);
  fmt::print("repeat with: LARDER_TEST_SEED={} {} --operations {} --noise {}\n", seed,
             program_invocation_name, arguments.operations, arguments.noise);
  if (!result.log.empty()) fmt::print("larder says:\n{}\n", result.log);
  std::fflush(stdout);
  std::vector<Operation> few(operations.begin(),
                             operations.begin() + static_cast<ptrdiff_t>(step) + 1);
  if (!arguments.no_shrink) few = shrink(setup, std::move(few), kShrinkSeconds);
  fmt::print("{} operations:\n", few.size());
  for (size_t i = 0; i < few.size(); ++i) fmt::print("  {:4} {}\n", i, describe(few[i]));
  const Mounted again = run(setup, few);
  fmt::print("which end with: {}\n", again.failure ? again.failure->text : "no failure this time");
}

int test(uint64_t seed, const Arguments& arguments) {
  Setup setup = make_setup(seed);
  setup.noise = arguments.noise;
  const auto operations = make_operations(seed, arguments.operations, setup.shape);
  if (arguments.verbose) {
    fmt::print("seed {}: {}; noise: {}\n", seed, fmt::join(setup.options, ","), setup.noise);
    std::fflush(stdout);
  }
  const Mounted result = run(setup, operations);
  if (!result.problem.empty()) {
    fmt::print("cannot mount: {}\n", result.problem);
    return 1;
  }
  if (!result.failure) return 0;
  report(seed, arguments, setup, operations, result);
  return 1;
}

int test_all(const Arguments& arguments) {
  using std::chrono::steady_clock;
  if (const char* seed = getenv("LARDER_TEST_SEED"))
    return test(strtoull(seed, nullptr, 10), arguments);
  const auto until = steady_clock::now() + std::chrono::seconds(arguments.seconds);
  uint64_t seed = arguments.from ? *arguments.from : std::random_device()();
  size_t runs = 0;
  do {
    if (const int failed = test(seed++, arguments)) return failed;
    ++runs;
  } while (arguments.seeds != 0 ? runs < arguments.seeds : steady_clock::now() < until);
  fmt::print("{} seeds of {} operations passed\n", runs, arguments.operations);
  return 0;
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
  app.add_flag("--no-shrink", arguments.no_shrink, "Leave a failing run as long as it is");
  CLI11_PARSE(app, argc, argv);
  const std::string why = larder::testing_support::LarderMount::why_unavailable();
  if (!why.empty()) {
    fmt::print("skipped: {}\n", why);
    return larder::model::kSkipped;
  }
  return larder::model::test_all(arguments);
}
