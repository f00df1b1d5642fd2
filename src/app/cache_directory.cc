#include "app/cache_directory.h"

#include <fmt/format.h>

#include <algorithm>
#include <span>
#include <thread>

#include "app/distant_mounts.h"
#include "app/in_words.h"
#include "app/mount_table.h"
#include "io/posix_disk.h"

namespace larder::app {
namespace {

// "SOURCE": two lines, the format and the source's real path.
constexpr std::string_view kMarkHead = "larder cache 1\n";
constexpr std::string_view kMarkHeadAnyVersion = "larder cache ";
constexpr size_t kTextSizeMax = 16384;
constexpr Nanos kLockRetry = std::chrono::milliseconds(20);

// "larder cache N" on a line of its own, with another N than ours.
bool has_other_version(std::string_view mark) {
  if (!mark.starts_with(kMarkHeadAnyVersion) || mark.starts_with(kMarkHead)) return false;
  const size_t end = mark.find('\n');
  if (end == mark.npos || end == kMarkHeadAnyVersion.size()) return false;
  const std::string_view number =
      mark.substr(kMarkHeadAnyVersion.size(), end - kMarkHeadAnyVersion.size());
  return number.find_first_not_of("0123456789") == number.npos;
}

}  // namespace

std::string holder_of(const std::string& path) {
  const auto disk = io::open_posix_disk(path);
  if (!disk) return {};
  std::string text = read_text(**disk, kLockName).value_or("");
  if (!text.ends_with('\n')) return {};
  text.pop_back();
  return text;
}

Result<std::string> parse_mark(std::string_view text) {
  if (has_other_version(text)) return fail(Code::kNewerFormat);
  if (!text.starts_with(kMarkHead) || !text.ends_with('\n')) return fail(Code::kCorrupt);
  text.remove_prefix(kMarkHead.size());
  if (text.size() < 2) return fail(Code::kCorrupt);
  text.remove_suffix(1);
  return std::string(text);
}

namespace {

// The daemon that holds the lock serves a mount that nobody sees here, or is ending.
Result<void> check_for_distant_mount(const std::string& path, const std::string& holder,
                                     const std::string& source, const LockWait& wait) {
  if (!wait.lives_on) return {};
  const std::string where = wait.lives_on(holder, source);
  if (where.empty()) return {};
  return fail(Code::kLocked, fmt::format("cache directory {} is in use: {}", path, where));
}

Result<std::unique_ptr<io::Disk>> lock_directory(const std::string& path, const std::string& source,
                                                 const LockWait& wait) {
  const Nanos give_up = wait.clock.monotonic() + wait.patience;
  for (bool is_first = true;; is_first = false) {
    auto disk = io::open_posix_disk_locked(path, kLockName);
    if (disk) return disk;
    if (!disk.error().is(Code::kLocked))
      return fail(disk.error().code(), fmt::format("cannot open cache directory {}: {}", path,
                                                   code_name(disk.error().code())));
    const std::string holder = holder_of(path);
    const bool serves = !holder.empty() && wait.is_mounted(holder);
    const bool is_over = serves || wait.clock.monotonic() >= give_up;
    if (!serves && is_first) TRY(check_for_distant_mount(path, holder, {}, wait));
    if (!serves && is_over) TRY(check_for_distant_mount(path, holder, source, wait));
    if (is_over)
      return fail(
          Code::kLocked,
          fmt::format("cache directory {} is in use by another larder mount{}; unmount that one, "
                      "or give this one its own with -o cache_dir=DIR",
                      path, holder.empty() ? "" : ", on " + holder));
    wait.pause(kLockRetry);
  }
}

}  // namespace

LockWait LockWait::of_this_system() {
  LockWait wait;
  wait.pause = [](Nanos time) { std::this_thread::sleep_for(time); };
  wait.is_mounted = [](const std::string& mountpoint) {
    const auto table = read_mount_table();
    const auto mount = table ? find_mount(*table, mountpoint) : std::nullopt;
    return mount && mount->is_larder();
  };
  wait.lives_on = [](const std::string& mountpoint, const std::string& source) {
    const auto mount = find_distant_mount({}, mountpoint, source);
    return mount ? describe(*mount) : "";
  };
  return wait;
}

Result<std::string> read_text(io::Disk& disk, const std::string& name) {
  TRY_ASSIGN(const auto file, disk.open(name, io::OpenMode::kReadOnly));
  std::string text(kTextSizeMax, '\0');
  TRY_ASSIGN(const size_t length, file->read_at(std::as_writable_bytes(std::span(text)), 0));
  text.resize(length);
  return text;
}

Result<void> write_text(io::Disk& disk, const std::string& name, const std::string& text) {
  const std::string made = name + std::string(kUnfinishedSuffix);
  TRY_ASSIGN(const auto file, disk.open(made, io::OpenMode::kCreate));
  TRY(file->truncate(0));
  TRY(file->write_at(std::as_bytes(std::span(text)), 0));
  TRY(file->sync_data());
  TRY(disk.rename(made, name));
  return disk.sync_directory("");
}

namespace {

Result<void> check_mark(io::Disk& disk, const std::string& path, const std::string& source) {
  const std::string wanted = std::string(kMarkHead) + source + "\n";
  const auto mark = read_text(disk, kMarkName);
  if (!mark) {
    if (!mark.error().is(Code::kNotFound)) return fail(mark.error().code(), mark.error().message());
    TRY_ASSIGN(const auto names, in_words(disk.list("")));
    for (const std::string& name : names)
      if (name != kLockName && name != std::string(kMarkName) + std::string(kUnfinishedSuffix))
        return fail(
            Code::kCorrupt,
            fmt::format("cache directory {} is not empty and not a larder cache (it has \"{}\"); "
                        "give an empty directory",
                        path, name));
    return in_words(write_text(disk, kMarkName, wanted));
  }
  if (*mark == wanted) return {};
  const auto owner = parse_mark(*mark);
  if (owner)
    return fail(Code::kExists,
                fmt::format("cache directory {} belongs to source {}, not to {}; give another one "
                            "with -o cache_dir=DIR",
                            path, *owner, source));
  if (owner.error().is(Code::kNewerFormat))
    return fail(Code::kNewerFormat,
                fmt::format("cache directory {} was made by a newer larder; use that version, or "
                            "another directory with -o cache_dir=DIR",
                            path));
  return fail(Code::kCorrupt,
              fmt::format("{}/{} is damaged; if the cache may be lost, remove {} and mount again",
                          path, kMarkName, path));
}

}  // namespace

Result<std::unique_ptr<io::Disk>> open_cache_directory(const std::string& path,
                                                       const std::string& source,
                                                       const LockWait& wait) {
  TRY_ASSIGN(auto disk, lock_directory(path, source, wait));
  TRY(check_mark(*disk, path, source));
  return disk;
}

Result<bool> finish_journal_exchange(io::Disk& disk) {
  TRY_ASSIGN(const auto names, disk.list(""));
  const auto is_there = [&](std::string_view name) {
    return std::ranges::find(names, name) != names.end();
  };
  if (is_there(kJournalName) || !is_there(kOldJournal) || !is_there(kNewJournal)) return false;
  TRY(disk.rename(kNewJournal, kJournalName));
  TRY(disk.sync_directory(""));
  return true;
}

// In place: the lock is on this very file.
Result<void> sign_lock(io::Disk& disk, const std::string& mountpoint) {
  const std::string text = mountpoint + "\n";
  TRY_ASSIGN(const auto file, disk.open(kLockName, io::OpenMode::kReadWrite));
  TRY(file->truncate(0));
  return file->write_at(std::as_bytes(std::span(text)), 0);
}

}  // namespace larder::app
