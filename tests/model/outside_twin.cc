#include "model/outside_twin.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "support/files.h"

namespace larder::model::outside {
namespace {

bool is_at_end(const Action& action, int flags) {
  return action.kind == Kind::kAppend || (action.kind == Kind::kWrite && (flags & O_APPEND) != 0);
}

}  // namespace

Twin::Twin(testing_support::SourceKind kind, uint64_t file_bytes_max)
    : file_bytes_max_(file_bytes_max),
      sizes_are_current_(kind != testing_support::SourceKind::kSshfs),
      directory_(testing_support::make_source_directory(kind)),
      place_(directory_->directory()),
      behind_(directory_->behind()) {}

bool Twin::exists(const std::string& path) const {
  return testing_support::stat_error(behind_.at(path)) == 0;
}

uint32_t Twin::file_number(const std::string& path) const {
  struct stat status;
  if (lstat(behind_.at(path).c_str(), &status) != 0 || !S_ISREG(status.st_mode)) return 0;
  const auto found = files_.find(status.st_ino);
  return found == files_.end() ? 0 : found->second;
}

uint64_t Twin::size_at(const std::string& path) const {
  struct stat status;
  if (lstat(behind_.at(path).c_str(), &status) != 0 || !S_ISREG(status.st_mode)) return 0;
  return static_cast<uint64_t>(status.st_size);
}

uint64_t Twin::size_of(int fd) const {
  struct stat status;
  if (fd < 0 || fstat(fd, &status) != 0) return 0;
  const auto size = static_cast<uint64_t>(status.st_size);
  if (sizes_are_current_ || !S_ISREG(status.st_mode) || !is_readable(fd)) return size;
  // sshfs shows that of the file the name leads to.
  return std::max<uint64_t>(size, read_from(fd, 0, 4 * file_bytes_max_).data.size());
}

void Twin::plan_write(Action& action, uint32_t file, uint64_t size, const Operation& operation,
                      uint32_t version) const {
  const int flags = action.kind == Kind::kWrite && place_.file(action.slot) >= 0
                        ? fcntl(place_.file(action.slot), F_GETFL)
                        : 0;
  action.offset = is_at_end(action, flags) ? size : std::min(operation.offset, size);
  uint64_t length = operation.length;
  // In place means in place; and nothing grows for ever.
  if (action.kind == Kind::kRewrite) length = std::min(length, size - action.offset);
  if (action.offset >= file_bytes_max_) length = kCellBytes;
  action.data = cells(file, version, action.offset, length);
}

Action Twin::plan(const Operation& operation, uint32_t version) const {
  Action action{.kind = operation.kind,
                .path = operation.path,
                .other = operation.other,
                .slot = operation.slot,
                .flags = operation.flags,
                .temporary = fmt::format("t{}", version),
                .seed = operation.seed};
  const auto shorter = [&](uint64_t size) {
    return operation.offset % (size + kCellBytes) / kCellBytes * kCellBytes;
  };
  switch (operation.kind) {
    case Kind::kCreate:
    case Kind::kReplace:
    case Kind::kCreateIn:
      action.data = cells(version, version, 0, operation.length);
      break;
    case Kind::kOverwrite:
      action.data = cells(file_number(operation.path), version, 0, operation.length);
      break;
    case Kind::kRewrite:
    case Kind::kAppend:
      plan_write(action, file_number(operation.path), size_at(operation.path), operation, version);
      break;
    case Kind::kWrite:
      plan_write(action, open_file(operation.slot).file, size_of(place_.file(operation.slot)),
                 operation, version);
      break;
    case Kind::kShrink:
      action.offset = shorter(size_at(operation.path));
      break;
    case Kind::kTruncate:
      action.offset = shorter(size_of(place_.file(operation.slot)));
      break;
    case Kind::kRenameIn:
      action.temporary = fmt::format("f{}", operation.seed % 3);
      break;
    default:
      break;
  }
  return action;
}

void Twin::note_new_file(const std::string& path, uint32_t version) {
  struct stat status;
  if (lstat(path.c_str(), &status) == 0) files_[status.st_ino] = version;
}

std::string Twin::behind_of(int directory) const {
  std::error_code ignored;
  const std::string path =
      std::filesystem::read_symlink(fmt::format("/proc/self/fd/{}", directory), ignored);
  return path.starts_with(place_.root()) ? behind_.root() + path.substr(place_.root().size())
                                         : path;
}

// What is written on the mount is seen there at once.
void Twin::note_write(const Action& action, uint32_t version) {
  const uint32_t file =
      action.kind == Kind::kWrite ? open_file(action.slot).file : file_number(action.path);
  const size_t first = action.offset / kCellBytes;
  const size_t end = first + action.data.size() / kCellBytes;
  for (OpenFile& open : open_files_) {
    if (open.file != file) continue;
    if (open.oldest.size() < end) open.oldest.resize(end, 0);
    std::fill(open.oldest.begin() + static_cast<ptrdiff_t>(first),
              open.oldest.begin() + static_cast<ptrdiff_t>(end), version);
  }
}

void Twin::note_sizes(const Action& action) {
  const uint32_t emptied = action.kind == Kind::kOverwrite ? file_number(action.path) : 0;
  for (uint32_t slot = 0; slot < kFileSlots; ++slot) {
    if (place_.file(slot) < 0) continue;
    OpenFile& open = open_files_.at(slot);
    const uint64_t size = size_of(place_.file(slot));
    open.size_min = open.file == emptied ? 0 : std::min(open.size_min, size);
    open.size_max = std::max(open.size_max, size);
  }
}

Outcome Twin::apply(const Action& action, bool outside, uint32_t version) {
  const bool is_new = action.kind == Kind::kOpen && size_at(action.path) == 0 &&
                      file_number(action.path) == 0 && (action.flags & O_CREAT) != 0;
  Outcome result = (outside ? behind_ : place_).apply(action);
  if (result.error != 0) return result;
  if (is_new || action.kind == Kind::kCreate || action.kind == Kind::kReplace)
    note_new_file(behind_.at(action.path), version);
  if (action.kind == Kind::kCreateIn)
    note_new_file(behind_of(place_.directory(action.slot)) + "/" + action.other, version);
  if (action.kind == Kind::kOpen) {
    OpenFile& open = open_files_.at(action.slot);
    open = {.file = file_number(action.path)};
    see(open, read_all(behind_.at(action.path)).data);
  }
  const bool writes = action.kind == Kind::kRewrite || action.kind == Kind::kAppend ||
                      action.kind == Kind::kOverwrite || action.kind == Kind::kWrite;
  if (writes && !outside) note_write(action, version);
  note_sizes(action);
  return result;
}

void Twin::see(OpenFile& open_file, const std::string& data) const {
  open_file.oldest = versions_of(data);
  open_file.size_max = data.size();
  open_file.size_min = sizes_are_current_ ? data.size() : 0;
}

void Twin::all_is_seen() {
  for (uint32_t slot = 0; slot < kFileSlots; ++slot) {
    const int fd = place_.file(slot);
    if (fd < 0) continue;
    OpenFile& open = open_files_.at(slot);
    const uint64_t size = size_of(fd);
    open.size_max = size;
    open.size_min = sizes_are_current_ ? size : 0;
    if (is_readable(fd)) open.oldest = versions_of(read_from(fd, 0, size).data);
  }
}

}  // namespace larder::model::outside
