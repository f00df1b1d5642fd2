#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <memory>

#include "app/commands.h"
#include "app/exit_codes.h"
#include "app/interrupt.h"
#include "app/mount_table.h"
#include "app/recording.h"
#include "app/trace_output.h"
#include "base/clock.h"
#include "control/command.h"

namespace larder::app {
namespace {

struct RecordArguments {
  std::string output = "-";
  bool force = false;
  bool blocks = false;
  uint32_t seconds = 0;  // 0: until interrupted
  std::string control_dir = ".larder";
  std::string mountpoint;
};

struct Counts {
  uint64_t accesses = 0;
  uint64_t dropped = 0;
};

// At this pace the mount's buffer is good for 300,000 accesses a second.
constexpr Nanos kPause = std::chrono::milliseconds(200);

std::string header(const RecordArguments& arguments, const std::string& mountpoint) {
  return fmt::format(
      "# larder record: {} of {}\n# KEY SIZE TIME PATH: in bytes, in seconds since 1970\n",
      arguments.blocks ? "blocks read" : "files opened", control::encode_word(mountpoint));
}

// Writes what is recorded until the recording's end, which comes at the deadline (monotonic) or
// before.
Result<void> follow(Recording& recording, TraceOutput& output, const Interrupt& interrupt,
                    Nanos deadline, Counts& counts) {
  bool ended = false;
  for (;;) {
    TRY_ASSIGN(const control::RecordedPart part, recording.read());
    counts.accesses += part.accesses;
    counts.dropped = part.dropped;
    TRY(output.write(part.lines));
    if (part.state == fs::AccessRecorder::State::kEnd) return {};
    if (ended) continue;
    const Nanos left = std::max(Nanos(0), deadline - Clock::system().monotonic());
    const bool is_more = part.state == fs::AccessRecorder::State::kMore;
    if (interrupt.wait_for(is_more ? Nanos(0) : std::min(kPause, left)) || left == Nanos(0)) {
      TRY(recording.end());
      ended = true;
    }
  }
}

Result<Counts> record(const RecordArguments& arguments) {
  TRY_ASSIGN(const MountEntry mount, larder_mount_of(arguments.mountpoint));
  std::signal(SIGPIPE, SIG_IGN);
  const Interrupt interrupt;
  TRY_ASSIGN(Recording recording,
             Recording::begin(mount.mountpoint, arguments.control_dir, arguments.blocks));
  TRY_ASSIGN(TraceOutput output, TraceOutput::open(arguments.output, arguments.force));
  TRY(output.write(header(arguments, mount.mountpoint)));
  const bool has_end = arguments.seconds != 0;
  const Nanos deadline = has_end
                             ? Clock::system().monotonic() + std::chrono::seconds(arguments.seconds)
                             : Nanos::max();
  if (!has_end && isatty(STDERR_FILENO) == 1)
    complain(fmt::format("recording {} until Ctrl-C", mount.mountpoint));
  Counts counts;
  const Result<void> followed = follow(recording, output, interrupt, deadline, counts);
  const std::string why = followed ? "" : "; ended early: " + followed.error().detail();
  const Result<void> finished = output.write(
      fmt::format("# {} accesses, {} dropped{}\n", counts.accesses, counts.dropped, why));
  TRY(followed);
  TRY(finished);
  TRY(output.close());
  return counts;
}

int run_record(const RecordArguments& arguments) {
  const auto counts = record(arguments);
  if (!counts) {
    const Error& error = counts.error();
    complain(error.is(Code::kInvalid) ? error.detail() : error.message());
    return kExitFailed;
  }
  complain(fmt::format("{} accesses recorded, {} dropped", counts->accesses, counts->dropped));
  return kExitOk;
}

}  // namespace

Command set_up_record(CLI::App& app) {
  const auto arguments = std::make_shared<RecordArguments>();
  app.add_option("-o,--output", arguments->output,
                 "Write to this file instead of standard output; one that is not empty is refused")
      ->type_name("FILE|-");
  app.add_flag("--force", arguments->force, "Overwrite FILE");
  app.add_option("--seconds", arguments->seconds, "End after so long [until Ctrl-C]")
      ->check(CLI::Range(1U, UINT32_MAX))
      ->type_name("N");
  app.add_flag("--blocks", arguments->blocks,
               "Record the blocks that larder reads for the kernel, instead of files opened");
  app.add_option("--control-dir", arguments->control_dir,
                 "The mount's control_dir=, if not .larder")
      ->type_name("NAME");
  app.add_option("MOUNTPOINT", arguments->mountpoint, "The mount, or any path on it")->required();
  app.footer(
      "Each line is an access, KEY SIZE TIME PATH, as `larder simulate` reads it. Ctrl-C ends it\n"
      "properly, a second one at once. When the mount's buffer overflows accesses are dropped;\n"
      "how many is said at the end. One recording of a mount at a time.");
  return [arguments] { return run_record(*arguments); };
}

}  // namespace larder::app
