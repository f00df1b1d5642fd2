#include "model/outside_run.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <functional>
#include <memory>
#include <optional>
#include <thread>
#include <utility>

#include "base/checksum.h"
#include "base/random.h"
#include "model/outside_place.h"
#include "model/outside_storm.h"
#include "model/outside_twin.h"
#include "model/tree.h"
#include "support/larder_mount.h"

namespace larder::model::outside {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;
using testing_support::LarderMount;
using testing_support::SourceKind;

// What was promised to be seen attr_ttl and a second after a change and is not by now never comes.
constexpr milliseconds kNever(6000);
constexpr milliseconds kEagerNever(2500);
// Versions of one operation, which may consist of many changes.
constexpr uint32_t kVersionsPerOperation = 1024;

int64_t slowest = 0;

bool is_regular(int fd) {
  struct stat status;
  return fd >= 0 && fstat(fd, &status) == 0 && S_ISREG(status.st_mode);
}

bool is_look(Kind kind) {
  return kind == Kind::kStat || kind == Kind::kList || kind == Kind::kReadLink ||
         kind == Kind::kListIn;
}

// Descriptors of the source itself beside the mount's, which say what the attributes are.
class Witnesses {
 public:
  Witnesses() { fds_.fill(-1); }
  ~Witnesses() { close_all(); }
  void open(uint32_t slot, const std::string& path) {
    close(slot);
    fds_.at(slot) = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  }
  void close(uint32_t slot) {
    if (fds_.at(slot) >= 0) ::close(std::exchange(fds_.at(slot), -1));
  }
  void close_all() {
    for (uint32_t slot = 0; slot < kFileSlots; ++slot) close(slot);
  }
  int at(uint32_t slot) const { return fds_.at(slot); }

 private:
  std::array<int, kFileSlots> fds_;
};

// What the mount may still believe: when the source was last changed behind it.
struct Believed {
  steady_clock::time_point names;        // a name of a file
  steady_clock::time_point directories;  // where a directory is
  steady_clock::time_point files;        // which file a name leads to
  steady_clock::time_point anything;
};

class Runner {
 public:
  explicit Runner(const Setup& setup)
      : setup_(setup),
        source_(testing_support::make_source_directory(setup.source)),
        twin_(setup.source, setup.file_bytes_max),
        behind_(source_->behind()) {
    if (!source_->ready() || !twin_.problem().empty()) return;
    if (!setup.native) mount_ = std::make_unique<LarderMount>(source_->directory(), setup.options);
    place_.emplace(setup.native ? source_->directory() : mount_->mountpoint());
  }

  Mounted run(const std::vector<Operation>& operations, const std::vector<size_t>& chosen) {
    Mounted result{.problem = problem()};
    if (!result.problem.empty()) return result;
    for (size_t i = 0; i < chosen.size() && !result.failure; ++i) {
      version_ = static_cast<uint32_t>(chosen[i] + 1) * kVersionsPerOperation;
      std::string wrong = step(operations[chosen[i]]);
      if (!wrong.empty()) result.failure = Failure{i, std::move(wrong)};
    }
    std::string wrong = result.failure ? std::string() : end();
    if (!wrong.empty()) result.failure = Failure{chosen.size() - 1, std::move(wrong)};
    close_all();
    if (mount_) result.log = mount_->log();
    return result;
  }

 private:
  std::string problem() const {
    if (!source_->ready()) return source_->problem();
    if (!twin_.problem().empty()) return twin_.problem();
    return mount_ ? mount_->problem() : std::string();
  }

  std::string step(const Operation& operation) {
    if (operation.kind == Kind::kMount) return mount_again();
    if (is_down_ && !operation.outside) return {};
    if (!operation.outside) wait_for_what_it_needs(operation);
    if (operation.outside || operation.kind == Kind::kStorm) prepare_for_changes();
    switch (operation.kind) {
      case Kind::kQuiet:
        return quiet();
      case Kind::kUnmount:
        return unmount();
      case Kind::kStorm:
        return storm(operation);
      case Kind::kRead:
        return read(operation);
      case Kind::kStatHandle:
        return stat_handle(operation);
      default:
        return do_to_both(operation);
    }
  }

  std::string do_to_both(const Operation& operation) {
    const Action action = twin_.plan(operation, version_);
    const bool is_new = !twin_.exists(operation.path);
    if (!operation.outside && renames(operation.kind)) look_first(action);
    const Outcome expected = twin_.apply(action, operation.outside, version_);
    Outcome got = (operation.outside ? behind_ : *place_).apply(action);
    if (is_look(operation.kind))
      await([&] {
        if (!(got == expected)) got = place_->apply(action);
        return got == expected;
      });
    if (operation.outside) note_outside(operation.kind, is_new);
    // Larder opens what stays open 20 ms later; before that it has no way to a file that others
    // change in place and replace, nor to a directory that they move.
    constexpr milliseconds kKeptOpenAfter(60);
    if (operation.kind == Kind::kOpen || operation.kind == Kind::kOpenDirectory)
      is_kept_open_from_ = steady_clock::now() + kKeptOpenAfter;
    if (operation.kind == Kind::kOpen) {
      witnesses_.close(operation.slot);
      if (operation.seed % 2 == 0 && got.error == 0)
        witnesses_.open(operation.slot, source_->directory() + "/" + operation.path);
    }
    if (operation.kind == Kind::kClose) witnesses_.close(operation.slot);
    if (expected == got) return {};
    return fmt::format("the twin says {}, {} {}{}", describe(expected),
                       operation.outside ? "the source" : "the mount", describe(got),
                       first_difference(expected.data, got.data));
  }

  void note_outside(Kind kind, bool is_new) {
    const auto now = steady_clock::now();
    believed_.anything = now;
    if (changes_names(kind) || is_new) believed_.names = now;
    if (is_directory_move(kind) || kind == Kind::kRename || kind == Kind::kExchange)
      believed_.directories = now;
    if (changes_names(kind) || kind == Kind::kReplace) believed_.files = now;
  }

  // A name that the kernel or larder believes in is not asked for; what is opened by name is that
  // of now.
  void wait_for_what_it_needs(const Operation& operation) {
    const Kind kind = operation.kind;
    if (kind >= Kind::kOpen && kind != Kind::kOpen && kind < Kind::kOpenDirectory) return;
    if (kind == Kind::kQuiet || kind == Kind::kUnmount || kind == Kind::kStorm) return;
    outlive(believed_.names);
    if (kind <= Kind::kOpenDirectory) outlive(believed_.directories);
    const bool opens = kind == Kind::kOpen || kind == Kind::kReadFile || kind == Kind::kRewrite ||
                       kind == Kind::kAppend || kind == Kind::kOverwrite || kind == Kind::kReplace;
    if (!opens) outlive(believed_.files);
    if (kind == Kind::kStat || kind == Kind::kList || kind == Kind::kListIn)
      outlive(believed_.anything);
  }

  void outlive(steady_clock::time_point change) const {
    // An answer of the source is as old as it is when larder hears of it.
    constexpr milliseconds kOnTheWay(50);
    const milliseconds sshfs_seconds(setup_.source == SourceKind::kSshfs ? 1000 : 0);
    if (change == steady_clock::time_point()) return;
    std::this_thread::sleep_until(change + milliseconds(setup_.ttl_ms) + kOnTheWay + sshfs_seconds);
  }

  // A change that others make before larder has looked at a file that was written here cannot be
  // told from what was written, nor one that they make right before it is (docs/SEMANTICS.md).
  void prepare_for_changes() const {
    std::this_thread::sleep_until(is_kept_open_from_);
    if (!place_) return;
    constexpr milliseconds kJustNow(2);
    struct stat ignored;
    for (uint32_t slot = 0; slot < kFileSlots; ++slot)
      if (place_->file(slot) >= 0) ::fstat(place_->file(slot), &ignored);
    std::this_thread::sleep_for(kJustNow);
  }

  static bool renames(Kind kind) {
    return is_directory_move(kind) || kind == Kind::kRename || kind == Kind::kExchange ||
           kind == Kind::kReplace || kind == Kind::kSymlink;
  }

  // As mv(1) does.  The kernel cannot find out during a rename that a directory is elsewhere.
  void look_first(const Action& action) const {
    struct stat ignored;
    for (const std::string& name : {action.path, action.other})
      ::lstat(place_->at(name).c_str(), &ignored);
  }

  // While not all is quiet a file that is open shows what it was or what it has become.
  std::string read(const Operation& operation) {
    if (!is_regular(twin_.place().file(operation.slot))) return {};
    const int fd = place_->file(operation.slot);
    if (!is_readable(fd)) return {};
    return read_legally(fd, twin_.open_file(operation.slot), operation.offset + operation.seed % 5,
                        operation.length, version_);
  }

  std::string stat_handle(const Operation& operation) {
    if (!is_regular(twin_.place().file(operation.slot))) return {};
    struct stat status;
    if (fstat(place_->file(operation.slot), &status) != 0) return std::strerror(errno);
    const OpenFile& open = twin_.open_file(operation.slot);
    const auto size = static_cast<uint64_t>(status.st_size);
    if (size >= open.size_min && size <= open.size_max) return {};
    return fmt::format("the size is {}, but was never outside of {} to {}", size, open.size_min,
                       open.size_max);
  }

  std::string storm(const Operation& operation) {
    outlive(believed_.directories);
    std::string wrong = run_storm(
        {.seed = operation.seed, .version = version_, .file_bytes_max = setup_.file_bytes_max},
        twin_, behind_, *place_);
    believed_.names = believed_.directories = believed_.files = believed_.anything =
        steady_clock::now();
    return wrong;
  }

  std::string compare_handle(uint32_t slot) {
    const int twin = twin_.place().file(slot);
    const int fd = place_->file(slot);
    if (!is_regular(twin)) return {};
    std::optional<uint64_t> size;  // sshfs shows fstat(2) that of the file the name leads to
    if (is_readable(twin)) {
      const uint64_t whole = 4 * setup_.file_bytes_max;
      const Outcome expected = read_from(twin, 0, whole);
      const Outcome got = read_from(fd, 0, whole);
      if (!(expected == got))
        return fmt::format("#{} should read {}, but reads {}{} ({})", slot, describe(expected),
                           describe(got), first_difference(expected.data, got.data),
                           check_cells(got.data, 0, {.newest = UINT32_MAX}));
      size = expected.data.size();
    }
    const Outcome expected = attributes(twin, false, size);
    const Outcome got = attributes(fd, false);
    if (!(expected == got))
      return fmt::format("#{} should be {}, but is {}", slot, describe(expected), describe(got));
    if (witnesses_.at(slot) < 0) return {};
    const Outcome at_source = attributes(witnesses_.at(slot), true, size);
    const Outcome times = attributes(fd, true);
    if (at_source == times) return {};
    return fmt::format("#{} is {} at the source, but {} on the mount", slot, describe(at_source),
                       describe(times));
  }

  std::string compare_handles() {
    std::string wrong;
    for (uint32_t slot = 0; slot < kFileSlots && wrong.empty(); ++slot)
      wrong = compare_handle(slot);
    return wrong;
  }

  std::string compare_trees() {
    std::string wrong = compare(twin_.root(), place_->root(), {.xattrs = true});
    if (wrong.empty())
      wrong = compare(source_->directory(), place_->root(),
                      {.times = true, .is_mount = !setup_.native});
    return wrong;
  }

  // Asks until it is so, or is not so too late; true when it was not so at once.
  bool await(const std::function<bool()>& condition) const {
    if (condition()) return false;
    const auto until = believed_.anything + (setup_.is_eager ? kEagerNever : kNever);
    do {
      std::this_thread::sleep_for(milliseconds(5));  // between two questions
    } while (!condition() && steady_clock::now() < until);
    return true;
  }

  std::string quiet() {
    outlive(believed_.anything);
    std::string wrong;
    const bool is_slow = await([&] {
      wrong = compare_handles();
      return wrong.empty();
    });
    if (wrong.empty()) {
      await([&] {
        wrong = compare_trees();
        return wrong.empty();
      });
    }
    if (wrong.empty()) wrong = compare_handles();
    if (is_slow && wrong.empty())
      slowest =
          std::max<int64_t>(slowest, (steady_clock::now() - believed_.anything) / milliseconds(1));
    twin_.all_is_seen();
    return wrong.empty() ? wrong : "when all is quiet: " + wrong;
  }

  void close_all() {
    twin_.close_all();
    place_->close_all();
    witnesses_.close_all();
  }

  std::string unmount() {
    close_all();
    is_down_ = true;
    if (!mount_) return {};
    const int code = mount_->stop();
    return code == 0 ? std::string() : fmt::format("larder ended with {}", code);
  }

  std::string mount_again() {
    if (!is_down_) return {};
    is_down_ = false;
    return !mount_ || mount_->start() ? std::string() : mount_->problem();
  }

  // What is kept over a remount is right, too.
  std::string end() {
    std::string wrong = mount_again();
    if (wrong.empty()) wrong = quiet();
    if (wrong.empty()) wrong = unmount();
    if (wrong.empty()) wrong = mount_again();
    if (wrong.empty()) wrong = compare_trees();
    if (wrong.empty()) wrong = unmount();
    return wrong;
  }

  const Setup& setup_;
  std::unique_ptr<testing_support::SourceDirectory> source_;
  Twin twin_;
  Place behind_;
  std::unique_ptr<LarderMount> mount_;
  std::optional<Place> place_;  // as programs see the mount
  Witnesses witnesses_;
  Believed believed_;
  steady_clock::time_point is_kept_open_from_;  // what was opened last, by larder, too
  uint32_t version_ = 0;
  bool is_down_ = false;
};

}  // namespace

int64_t slowest_ms() {
  return slowest;
}

Setup make_setup(uint64_t seed, SourceKind source) {
  Random random(mix64(seed) ^ 0x0475);
  Setup setup{.source = source, .seed = seed};
  const auto choose = [&](auto... values) {
    const std::array<std::string, sizeof...(values)> all = {values...};
    setup.options.push_back(all[random.below(all.size())]);
  };
  const uint64_t block = std::array<uint64_t, 3>{4 << 10, 64 << 10, 256 << 10}[random.below(3)];
  setup.file_bytes_max = 300 << 10;
  setup.ttl_ms = std::array<unsigned, 3>{0, 20, 100}[random.below(3)];
  setup.options.push_back(fmt::format("block_size={}K", block >> 10));
  for (const char* key : {"attr_ttl", "negative_ttl"})
    setup.options.push_back(fmt::format("{}={}ms", key, setup.ttl_ms));
  choose("passthrough=auto", "passthrough=auto", "passthrough=off");
  choose("io=uring", "io=threads");
  choose("memory=0", "memory=64M");
  choose("size=16M", "size=1G");
  choose("readahead=0", "readahead=16M");
  setup.options.emplace_back("commit_interval=20ms");
  return setup;
}

Trial make_trial(uint64_t seed, size_t count, SourceKind source, bool native, unsigned without) {
  Setup setup = make_setup(seed, source);
  setup.native = native;
  const auto operations = make_operations(seed, count, setup.file_bytes_max, without);
  Trial trial{.setup = fmt::format("{}; source: {}", fmt::join(setup.options, ","),
                                   testing_support::name_of(source))};
  for (const Operation& operation : operations) trial.operations.push_back(describe(operation));
  trial.run = [setup, operations](const std::vector<size_t>& chosen, bool eager) {
    Setup used = setup;
    used.is_eager = eager;
    return Runner(used).run(operations, chosen);
  };
  return trial;
}

}  // namespace larder::model::outside
