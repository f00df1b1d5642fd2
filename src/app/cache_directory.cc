#include "app/cache_directory.h"

#include <fmt/format.h>

#include <span>

#include "io/posix_disk.h"

namespace larder::app {
namespace {

// "SOURCE": two lines, the format and the source's real path.
constexpr const char* kMark = "SOURCE";
constexpr const char* kMarkNew = "SOURCE.new";
constexpr std::string_view kMarkHead = "larder cache 1\n";
constexpr std::string_view kMarkHeadAnyVersion = "larder cache ";
constexpr const char* kLock = "lock";
constexpr size_t kMarkSizeMax = 16384;

Result<std::string> read_mark(io::Disk& disk) {
  TRY_ASSIGN(const auto file, disk.open(kMark, io::OpenMode::kReadOnly));
  std::string text(kMarkSizeMax, '\0');
  TRY_ASSIGN(const size_t length, file->read_at(std::as_writable_bytes(std::span(text)), 0));
  text.resize(length);
  return text;
}

// "larder cache N" on a line of its own, with another N than ours.
bool has_other_version(std::string_view mark) {
  if (!mark.starts_with(kMarkHeadAnyVersion) || mark.starts_with(kMarkHead)) return false;
  const size_t end = mark.find('\n');
  if (end == mark.npos || end == kMarkHeadAnyVersion.size()) return false;
  const std::string_view number =
      mark.substr(kMarkHeadAnyVersion.size(), end - kMarkHeadAnyVersion.size());
  return number.find_first_not_of("0123456789") == number.npos;
}

// Under a temporary name first: a crash in between leaves no half mark.
Result<void> write_mark(io::Disk& disk, const std::string& text) {
  TRY_ASSIGN(const auto file, disk.open(kMarkNew, io::OpenMode::kCreate));
  TRY(file->truncate(0));
  TRY(file->write_at(std::as_bytes(std::span(text)), 0));
  TRY(file->sync_data());
  TRY(disk.rename(kMarkNew, kMark));
  return disk.sync_directory("");
}

}  // namespace

Result<std::unique_ptr<io::Disk>> open_cache_directory(const std::string& path,
                                                       const std::string& source) {
  auto disk = io::open_posix_disk_locked(path, kLock);
  if (!disk) {
    if (disk.error().is(Code::kLocked))
      return fail(
          Code::kLocked,
          fmt::format("cache directory {} is in use by another larder mount; unmount that one, "
                      "or give this one its own with -o cache_dir=DIR",
                      path));
    return fail(disk.error().code(), fmt::format("cannot open cache directory {}", path));
  }
  const std::string wanted = std::string(kMarkHead) + source + "\n";
  const auto mark = read_mark(**disk);
  if (!mark) {
    if (!mark.error().is(Code::kNotFound)) return fail(mark.error());
    TRY_ASSIGN(const auto names, (*disk)->list(""));
    for (const std::string& name : names)
      if (name != kLock && name != kMarkNew)
        return fail(
            Code::kCorrupt,
            fmt::format("cache directory {} is not empty and not a larder cache (it has \"{}\"); "
                        "give an empty directory",
                        path, name));
    TRY(write_mark(**disk, wanted));
    return disk;
  }
  if (*mark == wanted) return disk;
  if (mark->starts_with(kMarkHead) && mark->ends_with('\n')) {
    const std::string owner = mark->substr(kMarkHead.size(), mark->size() - kMarkHead.size() - 1);
    return fail(Code::kExists,
                fmt::format("cache directory {} belongs to source {}, not to {}; give another one "
                            "with -o cache_dir=DIR",
                            path, owner, source));
  }
  if (has_other_version(*mark))
    return fail(Code::kNewerFormat,
                fmt::format("cache directory {} was made by a newer larder; use that version, or "
                            "another directory with -o cache_dir=DIR",
                            path));
  return fail(Code::kCorrupt,
              fmt::format("{}/{} is damaged; if the cache may be lost, remove {} and mount again",
                          path, kMark, path));
}

}  // namespace larder::app
