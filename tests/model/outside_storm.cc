#include "model/outside_storm.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <mutex>
#include <set>
#include <string_view>
#include <thread>
#include <vector>

#include "base/random.h"
#include "support/files.h"

namespace larder::model::outside {
namespace {

using testing_support::Descriptor;

constexpr uint32_t kFilesPerDirectory = 10;
constexpr uint32_t kFilesKept = 1;
// What is read while the storm lasts.
constexpr std::array kNames = {"f0", "f1", "f2", "d0/f0", "d1/f1", "d0/e/f0", "d1/e/f0"};

struct Step {
  Action action;
  Outcome expected;
};

// The first thing that any thread finds wrong.
class Finding {
 public:
  void note(const std::string& text) {
    const std::lock_guard lock(mutex_);
    if (text_.empty()) text_ = text;
  }
  std::string text() {
    const std::lock_guard lock(mutex_);
    return text_;
  }

 private:
  std::mutex mutex_;
  std::string text_;
};

// What programs do in the directories that are open: by names that nobody else uses.
std::vector<Step> make_files(const Storm& storm, uint32_t version, Twin& twin) {
  std::vector<Step> steps;
  Random random(storm.seed + 1);
  const auto add = [&](Kind kind, uint32_t slot, uint32_t number) {
    Operation operation{.kind = kind,
                        .other = fmt::format("s{}.{}", storm.version, number),
                        .slot = slot,
                        .length = kCellBytes * (1 + random.below(600))};
    steps.push_back({twin.plan(operation, version), {}});
    steps.back().expected = twin.apply(steps.back().action, false, version);
    ++version;
  };
  for (uint32_t slot = 0; slot < kDirectorySlots; ++slot) {
    if (twin.place().directory(slot) < 0) continue;
    const uint32_t first = slot * kFilesPerDirectory;
    for (uint32_t i = 0; i < kFilesPerDirectory; ++i) add(Kind::kCreateIn, slot, first + i);
    for (uint32_t i = kFilesKept; i < kFilesPerDirectory; ++i)
      add(Kind::kUnlinkIn, slot, first + i);
  }
  return steps;
}

bool is_directory(const std::string& path) {
  struct stat status;
  return lstat(path.c_str(), &status) == 0 && S_ISDIR(status.st_mode);
}

// What others do meanwhile, and which of the names lead to a directory at some time.
struct Outside {
  std::vector<Step> steps;
  std::set<std::string_view> directories;
  void note_directories(const Twin& twin) {
    for (const std::string_view name : kNames)
      if (is_directory(twin.place().at(std::string(name)))) directories.insert(name);
  }
};

Outside change_outside(const Storm& storm, Twin& twin, uint32_t* version) {
  Outside outside;
  outside.note_directories(twin);
  for (const Operation& operation : storm_operations(storm.seed, storm.file_bytes_max)) {
    outside.steps.push_back({twin.plan(operation, *version), {}});
    Step& step = outside.steps.back();
    step.expected = twin.apply(step.action, true, *version);
    outside.note_directories(twin);
    ++*version;
  }
  return outside;
}

void replay(const std::vector<Step>& steps, Place& place, bool slowly, Finding& finding) {
  for (const Step& step : steps) {
    const Outcome got = place.apply(step.action);
    if (!(got == step.expected))
      finding.note(fmt::format("the twin says {}, but in a storm {} is {} for '{}' '{}'",
                               describe(step.expected), place.root(), describe(got),
                               step.action.path, step.action.other));
    // So that readers meet many states.
    if (slowly) std::this_thread::sleep_for(std::chrono::microseconds(step.action.seed % 3000));
  }
}

// One file, whichever: its own bytes only.
std::string read_by_name(const std::string& path, uint32_t newest) {
  const Descriptor file(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  struct stat status;
  if (!file.valid()) {  // a directory above is elsewhere, or something else has the name just now
    const bool is_absent =
        file.error() == ENOENT || file.error() == ELOOP || file.error() == ENOTDIR;
    return is_absent ? std::string() : std::strerror(file.error());
  }
  if (fstat(file.get(), &status) != 0) return fmt::format("fstat: {}", std::strerror(errno));
  if (!S_ISREG(status.st_mode)) return {};
  const Outcome got = read_from(file.get(), 0, 1 << 24);
  if (got.error != 0) return fmt::format("read: {}", std::strerror(got.error));
  return check_cells(got.data, 0, {.newest = newest});
}

// The kernel itself answers so when it comes upon a directory that it knows by another name while
// another program makes or looks up a name there (docs/SEMANTICS.md).
bool is_moved_under_way(const Outside& outside, std::string_view name, const std::string& wrong) {
  const bool leads_to_directories = name.contains('/') || outside.directories.contains(name);
  return leads_to_directories && wrong == std::strerror(ESTALE);
}

void read_names(const Outside& outside, const Place& mount, uint32_t newest,
                const std::atomic<bool>& stop, Finding& finding) {
  while (!stop.load())
    for (const char* name : kNames) {
      const std::string wrong = read_by_name(mount.at(name), newest);
      if (!wrong.empty() && !is_moved_under_way(outside, name, wrong))
        finding.note(fmt::format("in a storm, '{}': {}", name, wrong));
    }
}

void read_open_files(const Twin& twin, const Place& mount, uint32_t newest,
                     const std::atomic<bool>& stop, Finding& finding) {
  Random random(newest);
  while (!stop.load())
    for (uint32_t slot = 0; slot < kFileSlots; ++slot) {
      const int fd = mount.file(slot);
      struct stat status;
      if (fd < 0 || fstat(fd, &status) != 0 || !S_ISREG(status.st_mode)) continue;
      if ((fcntl(fd, F_GETFL) & O_ACCMODE) == O_WRONLY) continue;
      const std::string wrong = read_legally(fd, twin.open_file(slot), random.below(100'000),
                                             1 + random.below(100'000), newest);
      if (!wrong.empty()) finding.note(fmt::format("in a storm, #{}: {}", slot, wrong));
    }
}

}  // namespace

std::string read_legally(int fd, const OpenFile& open, uint64_t offset, uint64_t length,
                         uint32_t newest) {
  const Outcome got = read_from(fd, offset, length);
  if (got.error != 0) return std::strerror(got.error);
  const uint64_t surely = open.size_min > offset ? std::min(length, open.size_min - offset) : 0;
  const uint64_t end = offset + got.data.size();
  if (got.data.size() < surely || (end > open.size_max && !got.data.empty()))
    return fmt::format("{} bytes from {} on, of a file of {} to {}", got.data.size(), offset,
                       open.size_min, open.size_max);
  return check_cells(got.data, offset,
                     {.file = open.file, .oldest = &open.oldest, .newest = newest});
}

std::string run_storm(const Storm& storm, Twin& twin, Place& behind, Place& mount) {
  uint32_t version = storm.version;
  const Outside outside = change_outside(storm, twin, &version);
  const std::vector<Step> made = make_files(storm, version, twin);
  const uint32_t newest = version + static_cast<uint32_t>(made.size());
  std::atomic<bool> stop{false};
  Finding finding;
  std::vector<std::thread> readers;
  readers.emplace_back([&] { read_names(outside, mount, newest, stop, finding); });
  readers.emplace_back([&] { read_open_files(twin, mount, newest, stop, finding); });
  std::thread maker([&] { replay(made, mount, false, finding); });
  replay(outside.steps, behind, true, finding);
  maker.join();
  stop.store(true);
  for (std::thread& reader : readers) reader.join();
  return finding.text();
}

}  // namespace larder::model::outside
