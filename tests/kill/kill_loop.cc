// Kills larder in the middle of its work, again and again on one cache directory, and compares what
// the next mount shows with what the files must hold.
//
//   kill_loop [--from S] [--seeds N] [--rounds N] [--io uring|threads] [--outsiders N]
//             [--verbose]
//
// A seed chooses the files, the mounts' options, the work and when the daemon is killed: at which
// request to the source, at which operation, when all work is done, or while it stops.  As threads
// work side by side, a seed repeats what is tried, not each step of it.
#include <fmt/format.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <random>

#include "kill/load.h"
#include "model/tree.h"
#include "support/files.h"
#include "support/larder_mount.h"
#include "support/slow_source/connection.h"
#include "support/slow_source_mount.h"

namespace larder::kill {
namespace {

using testing_support::LarderMount;
using testing_support::run_command;
using testing_support::SlowSourceMount;

constexpr int kSkipped = 77;  // as Meson has it

struct Arguments {
  std::optional<uint64_t> from;
  uint64_t seeds = 1;
  unsigned rounds = 20;
  std::string io;
  unsigned outsiders = 1;
  bool verbose = false;
};

struct Totals {
  uint64_t rounds = 0;
  uint64_t operations = 0;
  uint64_t cut_off = 0;
  uint64_t checked_bytes = 0;
  uint64_t source_reads = 0;
};

template <class T, size_t N>
const T& one_of(Random& random, const T (&choices)[N]) {
  return choices[random.below(N)];
}

// Small numbers as likely as large ones.
uint64_t likely_count(Random& random, uint64_t most) {
  uint64_t limit = 1;
  for (const uint64_t doublings = random.below(20); limit < (1ULL << doublings) && limit < most;)
    limit *= 2;
  return random.below(std::min(limit, most));
}

// Where each thread of a process that hangs is in the kernel.
std::string threads_of(pid_t process) {
  std::string text;
  std::error_code ignored;
  const std::string tasks = fmt::format("/proc/{}/task", process);
  for (const auto& task : std::filesystem::directory_iterator(tasks, ignored)) {
    const std::string name = testing_support::read_file(task.path() / "comm").data;
    const std::string stack = testing_support::read_file(task.path() / "stack").data;
    text += fmt::format("{} of {}: {}{}", task.path().filename().string(), process, name, stack);
  }
  return text;
}

// One seed: a source, a cache directory, and rounds of killing.  Each function gives an empty
// string, or what went wrong.
class KillLoop {
 public:
  KillLoop(uint64_t seed, const Arguments& arguments, Totals& totals)
      : seed_(seed), random_(seed), arguments_(arguments), totals_(totals), tree_(random_) {
    static constexpr const char* kBlockSizes[] = {"4K", "16K", "64K", "128K", "1M"};
    block_size_ = one_of(random_, kBlockSizes);
  }

  std::string run();

 private:
  std::string round(unsigned number);
  std::string load_and_kill();
  std::string check_and_end();
  std::string check_mount();
  std::string end_of_all();
  std::string start(const std::vector<std::string>& more);
  std::vector<std::string> any_options();
  std::string clear_mount_point();
  std::string said() const { return fmt::format("\nlarder said:\n{}", mount_->log()); }

  const uint64_t seed_;
  Random random_;  // of the round
  const Arguments& arguments_;
  Totals& totals_;
  KnownTree tree_;
  std::string block_size_;
  SlowSourceMount source_;
  std::unique_ptr<LarderMount> mount_;
  std::string doing_;
};

std::vector<std::string> KillLoop::any_options() {
  static constexpr const char* kIo[] = {"uring", "threads"};
  static constexpr const char* kIntervals[] = {"1ms", "20ms", "1s"};
  static constexpr const char* kMemory[] = {"0", "4M", "256M"};
  // Less than what larder keeps attributes for over a remount.
  static constexpr const char* kTtl[] = {"0", "5s", "50s"};
  std::vector<std::string> options = {
      fmt::format("io={}", arguments_.io.empty() ? one_of(random_, kIo) : arguments_.io),
      fmt::format("commit_interval={}", one_of(random_, kIntervals)),
      fmt::format("memory={}", one_of(random_, kMemory)),
      fmt::format("attr_ttl={}", one_of(random_, kTtl)),
  };
  if (random_.one_in(3)) options.push_back("passthrough=off");
  if (random_.one_in(4)) options.push_back("size=16M");
  return options;
}

std::string KillLoop::start(const std::vector<std::string>& more) {
  // Nobody is to be given an old answer for the machine being slow.
  std::vector<std::string> options = {"block_size=" + block_size_, "source_timeout=1h",
                                      "source_patience=1h"};
  options.insert(options.end(), more.begin(), more.end());
  doing_ = fmt::format("options {}", fmt::join(more, ","));
  if (!mount_) {
    mount_ = std::make_unique<LarderMount>(source_.mountpoint(), options);
  } else {
    mount_->set_options(options);
    mount_->start();
  }
  return mount_->mounted() ? "" : "does not mount: " + mount_->problem();
}

std::string KillLoop::clear_mount_point() {
  if (random_.one_in(2)) {
    const auto cleared = run_command({LarderMount::program(), "umount", mount_->mountpoint()});
    if (cleared.exit_code != 0) return "larder umount of the dead mount: " + cleared.err;
  } else if (!LarderMount::eventually([&] {  // somebody may be looking at it
               return umount2(mount_->mountpoint().c_str(), UMOUNT_NOFOLLOW) == 0;
             })) {
    return fmt::format("umount of the dead mount: {}", std::strerror(errno));
  }
  return {};
}

std::string KillLoop::load_and_kill() {
  if (std::string wrong = start(any_options()); !wrong.empty()) return wrong;
  LoadOptions options;
  options.mount = mount_->mountpoint();
  options.directory = source_.directory();
  options.readers = 1 + static_cast<unsigned>(random_.below(6));
  options.writers = static_cast<unsigned>(random_.below(4));
  options.outsiders = static_cast<unsigned>(random_.below(arguments_.outsiders + 1));
  options.daemon_fd = static_cast<int>(syscall(SYS_pidfd_open, mount_->pid(), 0));
  source_.set("latency_ms", fmt::format("{}", random_.below(3)));
  const bool in_stop = random_.one_in(8);
  options.kill_at_the_end = !in_stop;
  std::string when = in_stop ? "while it stops" : "when all is done";
  if (!in_stop && random_.one_in(3)) {
    options.kill_at = 1 + random_.below(options.operations * options.readers);
    when = fmt::format("at operation {}", options.kill_at);
  } else if (!in_stop && !random_.one_in(6)) {
    static constexpr const char* kKinds[] = {"read", "read", "read", "any", "write", "open"};
    const char* kind = one_of(random_, kKinds);
    const uint64_t after = likely_count(random_, 600);
    source_.set("kill", fmt::format("{}:{}:{}", mount_->pid(), kind, after));
    when = fmt::format("at {} request {} to the source", kind, after);
  }
  doing_ += fmt::format("; {} readers, {} writers, {} outsiders, killed {}", options.readers,
                        options.writers, options.outsiders, when);
  if (arguments_.verbose) fmt::print("  {}\n", doing_);
  std::fflush(stdout);
  Load load(tree_, options, random_.next());
  std::string wrong;
  std::string hanging;
  int signal = 0;
  if (in_stop) {
    load.join();
    ::kill(mount_->pid(), SIGTERM);
    LarderMount::eventually([&] { return slow_source::connection_of(mount_->mountpoint()) < 0; });
    syscall(SYS_pidfd_send_signal, options.daemon_fd, SIGKILL, nullptr, 0);
    signal = mount_->await_end();
  } else {
    signal = mount_->await_end();
    if (signal != SIGKILL) {
      hanging = threads_of(mount_->pid()) + threads_of(getpid());
      mount_->abort();  // or the threads would hang
    }
    load.join();
  }
  close(options.daemon_fd);
  source_.set("kill", "");
  source_.set("latency_ms", "0");
  totals_.operations += load.operations();
  totals_.cut_off += load.cut_off();
  if (!load.failure().empty()) return load.failure() + said();
  if (signal < 0 || (signal != SIGKILL && !in_stop))
    return fmt::format("the daemon was to be killed, but ended with signal {}\n{}", signal,
                       hanging) +
           said();
  if (!in_stop) wrong = clear_mount_point();
  if (wrong.empty()) wrong = tree_.settle(source_.directory());
  return wrong.empty() ? wrong : "on the source after the kill: " + wrong + said();
}

std::string KillLoop::check_mount() {
  source_.reset_requests();
  std::string wrong = model::compare(source_.directory(), mount_->mountpoint(),
                                     {.xattrs = false, .times = true, .is_mount = true});
  if (wrong.empty()) wrong = tree_.check_numbers(mount_->mountpoint());
  for (const auto& slot : tree_.slots())
    if (slot->content) totals_.checked_bytes += slot->content->data.size();
  totals_.source_reads += source_.requests("read");
  return wrong.empty() ? wrong : wrong + said();
}

std::string KillLoop::check_and_end() {
  if (std::string wrong = start(any_options()); !wrong.empty()) return wrong;
  if (std::string wrong = check_mount(); !wrong.empty()) return "after the kill: " + wrong;
  if (random_.one_in(2)) {
    mount_->kill();
  } else if (const int code = mount_->stop(); code != 0) {
    return fmt::format("a clean stop ends with {}", code) + said();
  }
  return {};
}

std::string KillLoop::round(unsigned number) {
  random_ = Random(mix64(seed_ + mix64(number)));
  Random changes(random_.next());
  if (std::string wrong = load_and_kill(); !wrong.empty()) return wrong;
  std::string wrong;
  if (!changes.one_in(4)) wrong = tree_.change(source_.directory(), changes, 6);
  if (wrong.empty()) wrong = check_and_end();
  // Something to fetch for the next one.
  if (wrong.empty()) wrong = tree_.change(source_.directory(), changes, 3);
  return wrong;
}

// What is read once more is there after a clean stop, all of it.
std::string KillLoop::end_of_all() {
  timespec changed{}, now{};
  clock_gettime(CLOCK_REALTIME, &changed);
  LarderMount::eventually([&] {  // until a change would show in the times
    clock_gettime(CLOCK_REALTIME, &now);
    return (now.tv_sec - changed.tv_sec) * 1000 + (now.tv_nsec - changed.tv_nsec) / 1000000 > 100;
  });
  for (int i = 0; i < 2; ++i) {
    if (std::string wrong = start({}); !wrong.empty()) return wrong;
    // What the audit tidies up after a kill is not stored in that moment.
    if (!LarderMount::eventually([&] { return mount_->metric("/cache/expected_bytes") == 0; }))
      return "the audit does not come to its end" + said();
    if (std::string wrong = check_mount(); !wrong.empty()) return "in the end: " + wrong;
    if (const uint64_t reads = source_.requests("read"); i == 1 && reads != 0)
      return fmt::format("in the end: {} reads of the source, all was read before", reads) + said();
    if (i == 1) break;
    LarderMount::eventually([&] {
      return mount_->metric("/fetches/in_flight") == 0 &&
             mount_->metric("/io/in_flight_operations") == 0;
    });
    if (const int code = mount_->stop(); code != 0)
      return fmt::format("the clean stop in the end gives {}", code) + said();
  }
  return {};
}

std::string KillLoop::run() {
  if (!source_.mounted()) return source_.problem();
  std::string wrong = tree_.create(source_.directory());
  for (unsigned i = 0; i < arguments_.rounds && wrong.empty(); ++i) {
    ++totals_.rounds;
    wrong = round(i);
    if (!wrong.empty()) wrong = fmt::format("round {}, {}:\n{}", i, doing_, wrong);
  }
  return wrong.empty() ? end_of_all() : wrong;
}

int run_all(const Arguments& arguments) {
  uint64_t seed = arguments.from ? *arguments.from : std::random_device()();
  Totals totals;
  for (uint64_t i = 0; i < arguments.seeds; ++i, ++seed) {
    if (arguments.verbose) fmt::print("seed {}\n", seed);
    const std::string wrong = KillLoop(seed, arguments, totals).run();
    if (wrong.empty()) continue;
    fmt::print("seed {} failed in {}\n", seed, wrong);
    fmt::print("repeat with: {} --from {} --rounds {} --outsiders {}{}\n", program_invocation_name,
               seed, arguments.rounds, arguments.outsiders,
               arguments.io.empty() ? "" : " --io " + arguments.io);
    return 1;
  }
  fmt::print(
      "{} seeds, {} rounds: {} operations, {} cut off by a kill; {} MiB compared after it with {} "
      "reads of the source\n",
      arguments.seeds, totals.rounds, totals.operations, totals.cut_off, totals.checked_bytes >> 20,
      totals.source_reads);
  return 0;
}

}  // namespace
}  // namespace larder::kill

int main(int argc, char** argv) {
  larder::kill::Arguments arguments;
  CLI::App app{"Kills larder in the middle of its work and checks what the next mount shows."};
  app.add_option("--from", arguments.from, "The first seed; a random one by default");
  app.add_option("--seeds", arguments.seeds, "How many seeds, each with a new cache directory");
  app.add_option("--rounds", arguments.rounds, "How often each seed kills");
  app.add_option("--io", arguments.io, "The engine; by default either, as the seed says");
  app.add_option("--outsiders", arguments.outsiders,
                 "Most threads that change files on the source meanwhile");
  app.add_flag("--verbose", arguments.verbose, "Say what each round does");
  CLI11_PARSE(app, argc, argv);
  const std::string why = larder::testing_support::LarderMount::why_unavailable();
  if (!why.empty()) {
    fmt::print("skipped: {}\n", why);
    return larder::kill::kSkipped;
  }
  return larder::kill::run_all(arguments);
}
