#include "model/world.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <functional>
#include <utility>
#include <vector>

#include "base/checksum.h"
#include "support/files.h"

namespace larder::model {
namespace {

using testing_support::Descriptor;

Outcome failed() {
  return {errno, 0, {}};
}
template <class T>
Outcome outcome(T result) {
  return result < 0 ? failed() : Outcome{0, static_cast<int64_t>(result), {}};
}

Outcome write_all(int fd, const std::string& data, uint64_t offset) {
  size_t done = 0;
  while (done < data.size()) {
    const ssize_t n =
        pwrite(fd, data.data() + done, data.size() - done, static_cast<off_t>(offset + done));
    if (n < 0) return failed();
    done += static_cast<size_t>(n);
  }
  return {0, static_cast<int64_t>(done), {}};
}

Outcome read_range(int fd, uint64_t offset, uint64_t length) {
  auto content = testing_support::read_at(fd, offset, length);
  return {content.error, static_cast<int64_t>(content.data.size()), std::move(content.data)};
}

bool is_directory(int fd) {
  struct stat status;
  return fstat(fd, &status) == 0 && S_ISDIR(status.st_mode);
}

// What of [offset, offset + length) lies within the file, as mappings fault beyond its end.
size_t within(int fd, uint64_t offset, uint64_t length) {
  struct stat status;
  // A directory's size is its file system's own affair, a removed one's too.
  if (fstat(fd, &status) != 0 || !S_ISREG(status.st_mode)) return 0;
  const auto size = static_cast<uint64_t>(status.st_size);
  return offset >= size ? 0 : static_cast<size_t>(std::min(length, size - offset));
}

Outcome map(int fd, const Operation& o, bool writing) {
  const size_t length = within(fd, o.offset, o.length);
  if (length == 0) return {};
  constexpr uint64_t kPage = 4096;
  const uint64_t from = o.offset & ~(kPage - 1);
  const size_t mapped = length + static_cast<size_t>(o.offset - from);
  void* memory = mmap(nullptr, mapped, writing ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED, fd,
                      static_cast<off_t>(from));
  if (memory == MAP_FAILED) return failed();
  char* bytes = static_cast<char*>(memory) + (o.offset - from);
  Outcome result{0, static_cast<int64_t>(length), std::string(bytes, length)};
  if (writing) {
    std::memcpy(bytes, data_of(o.seed, length).data(), length);
    if (msync(memory, mapped, MS_SYNC) != 0) result = failed();
  }
  munmap(memory, mapped);
  return result;
}

// Where holes are is the file system's to say (a read through a mapping may fill one): what
// SEEK_DATA skips must be zeros, and SEEK_HOLE must stay within the file.
Outcome seek(int fd, const Operation& o) {
  if (is_directory(fd)) return {};  // its positions are its file system's own
  const off_t size = lseek(fd, 0, SEEK_END);
  const auto from = static_cast<off_t>(o.offset);
  if (o.flags == SEEK_END || from >= size || (fcntl(fd, F_GETFL) & O_ACCMODE) == O_WRONLY)
    return {0, size, {}};
  const off_t found = lseek(fd, from, o.flags);
  if (found < 0 && errno != ENXIO) return failed();
  if (o.flags == SEEK_HOLE) return {0, found >= from && found <= size, {}};
  const off_t skipped_to = found < 0 ? size : found;
  const Outcome skipped = read_range(fd, o.offset, static_cast<uint64_t>(skipped_to - from));
  return {skipped.error, skipped.data.find_first_not_of('\0') == std::string::npos, {}};
}

Outcome set_times(const std::string& path, uint64_t seed) {
  const timespec time{static_cast<time_t>(1'000'000'000 + seed % 100'000'000),
                      static_cast<long>(seed % 1'000'000'000)};
  const timespec both[2] = {time, time};
  const Outcome result = outcome(utimensat(AT_FDCWD, path.c_str(), both, AT_SYMLINK_NOFOLLOW));
  if (result.error != 0) return result;
  struct stat status;
  if (lstat(path.c_str(), &status) != 0) return failed();
  return {0, status.st_mtim.tv_sec, fmt::format("{}", status.st_mtim.tv_nsec)};
}

Outcome describe_attributes(const struct stat& s, bool times) {
  std::string text = fmt::format("mode={:o} nlink={} uid={} gid={} rdev={}", s.st_mode, s.st_nlink,
                                 s.st_uid, s.st_gid, s.st_rdev);
  if (!S_ISDIR(s.st_mode)) text += fmt::format(" size={}", s.st_size);
  if (times)
    text += fmt::format(" mtime={}.{:09} ctime={}.{:09}", s.st_mtim.tv_sec, s.st_mtim.tv_nsec,
                        s.st_ctim.tv_sec, s.st_ctim.tv_nsec);
  return {0, 0, std::move(text)};
}

}  // namespace

std::string describe(const Outcome& o) {
  if (o.error != 0) return fmt::format("{} ({})", std::strerror(o.error), o.error);
  std::string text = fmt::format("{}", o.value);
  const bool is_text = o.data.size() < 200 &&
                       std::ranges::all_of(o.data, [](char c) { return c >= ' ' && c <= '~'; });
  if (is_text) return text + " " + o.data;
  return text + fmt::format(" {} bytes, hash {:016x}", o.data.size(),
                            hash64({o.data.data(), o.data.size()}));
}

Outcome attributes(const std::string& path, bool times) {
  struct stat status;
  return lstat(path.c_str(), &status) != 0 ? failed() : describe_attributes(status, times);
}

Outcome attributes(int fd, bool times, std::optional<uint64_t> size_bytes) {
  struct stat status;
  if (fstat(fd, &status) != 0) return failed();
  if (size_bytes) status.st_size = static_cast<off_t>(*size_bytes);
  return describe_attributes(status, times);
}

Outcome list(const std::string& path) {
  DIR* directory = opendir(path.c_str());
  if (directory == nullptr) return failed();
  std::vector<std::string> lines;
  errno = 0;
  while (const dirent* entry = readdir(directory)) {
    lines.push_back(fmt::format("{}:{}", entry->d_name, static_cast<int>(entry->d_type)));
    errno = 0;
  }
  const int error = errno;
  closedir(directory);
  std::ranges::sort(lines);
  return {error, static_cast<int64_t>(lines.size()), fmt::format("{}", fmt::join(lines, " "))};
}

Outcome read_all(const std::string& path) {
  auto content = testing_support::read_file(path);
  return {content.error, static_cast<int64_t>(content.data.size()), std::move(content.data)};
}

Outcome xattrs(const std::string& path) {
  char names[4096];
  const ssize_t length = llistxattr(path.c_str(), names, sizeof names);
  if (length < 0) return failed();
  std::vector<std::string> lines;
  for (const char* name = names; name < names + length; name += std::strlen(name) + 1) {
    char value[4096];
    const ssize_t got = lgetxattr(path.c_str(), name, value, sizeof value);
    lines.push_back(
        fmt::format("{}={}", name,
                    got < 0 ? std::strerror(errno) : std::string(value, static_cast<size_t>(got))));
  }
  std::ranges::sort(lines);
  return {0, 0, fmt::format("{}", fmt::join(lines, " "))};
}

void World::close_all() {
  for (int& fd : handles_)
    if (fd >= 0) ::close(std::exchange(fd, -1));
}

Outcome World::apply(const Operation& operation) {
  const bool on_handle = operation.kind >= Kind::kOpen && operation.kind <= Kind::kSync;
  return on_handle ? apply_to_handle(operation) : apply_to_path(operation);
}

Outcome World::put(const Operation& o) {
  const Descriptor file(path(o.path), O_WRONLY | O_CREAT | O_NOFOLLOW | o.flags, 0640);
  if (!file.valid()) return {file.error(), 0, {}};
  return write_all(file.get(), data_of(o.seed, o.length), o.offset);
}

Outcome World::apply_to_path(const Operation& o) {
  const std::string at = path(o.path);
  const std::string to = path(o.other);
  switch (o.kind) {
    case Kind::kPut:
      return put(o);
    case Kind::kReadFile:
      return read_all(at);
    case Kind::kTruncate:
      return outcome(truncate(at.c_str(), static_cast<off_t>(o.offset)));
    case Kind::kRename:
      return outcome(
          renameat2(AT_FDCWD, at.c_str(), AT_FDCWD, to.c_str(), static_cast<unsigned>(o.flags)));
    case Kind::kLink:
      return outcome(::link(at.c_str(), to.c_str()));
    case Kind::kUnlink:
      return outcome(::unlink(at.c_str()));
    case Kind::kMakeDirectory:
      return outcome(mkdir(at.c_str(), 0755));
    case Kind::kRemoveDirectory:
      return outcome(rmdir(at.c_str()));
    case Kind::kSymlink:  // what it leads to exists or not, within the tree
      return outcome(symlink(o.other.c_str(), at.c_str()));
    case Kind::kReadLink: {
      char target[4096];
      const ssize_t length = readlink(at.c_str(), target, sizeof target);
      return length < 0 ? failed()
                        : Outcome{0, length, std::string(target, static_cast<size_t>(length))};
    }
    case Kind::kChmod:
      return outcome(fchmodat(AT_FDCWD, at.c_str(), static_cast<mode_t>(o.flags), 0));
    case Kind::kChown:
      return outcome(lchown(at.c_str(), static_cast<uid_t>(o.flags), static_cast<gid_t>(o.flags)));
    case Kind::kSetTimes:
      return set_times(at, o.seed);
    case Kind::kSetXattr: {
      const std::string value = fmt::format("{}", o.seed);
      return outcome(lsetxattr(at.c_str(), o.other.c_str(), value.data(), value.size(), o.flags));
    }
    case Kind::kGetXattr: {
      char value[4096];
      const ssize_t length = lgetxattr(at.c_str(), o.other.c_str(), value, sizeof value);
      return length < 0 ? failed()
                        : Outcome{0, length, std::string(value, static_cast<size_t>(length))};
    }
    case Kind::kListXattr:
      return xattrs(at);
    case Kind::kRemoveXattr:
      return outcome(lremovexattr(at.c_str(), o.other.c_str()));
    case Kind::kList:
      return list(at);
    default:
      return attributes(at, false);
  }
}

Outcome World::open_slot(const Operation& o) {
  int& slot = handles_.at(o.handle);
  if (slot >= 0) ::close(std::exchange(slot, -1));
  slot = ::open(path(o.path).c_str(), o.flags | O_CLOEXEC | O_NOFOLLOW, 0644);
  return slot < 0 ? failed() : Outcome{};
}

Outcome World::apply_to_handle(const Operation& o) {
  int& slot = handles_.at(o.handle);
  if (o.kind == Kind::kOpen) return open_slot(o);
  if (slot < 0) return {EBADF, 0, {}};
  switch (o.kind) {
    case Kind::kClose:
      return outcome(::close(std::exchange(slot, -1)));
    case Kind::kWrite:
      return write_all(slot, data_of(o.seed, o.length), o.offset);
    case Kind::kRead:
      return read_range(slot, o.offset, o.length);
    case Kind::kMapRead:
      return map(slot, o, false);
    case Kind::kMapWrite:
      return map(slot, o, true);
    case Kind::kTruncateHandle:
      return outcome(ftruncate(slot, static_cast<off_t>(o.offset)));
    case Kind::kAllocate:
      return outcome(
          fallocate(slot, o.flags, static_cast<off_t>(o.offset), static_cast<off_t>(o.length)));
    case Kind::kSeek:
      return seek(slot, o);
    case Kind::kCopyRange: {
      const int to = handles_.at(o.other_handle);
      auto from_offset = static_cast<off_t>(o.offset);
      auto to_offset = static_cast<off_t>(o.seed % (o.offset + o.length + 1));
      if (to < 0) return {EBADF, 0, {}};
      return outcome(copy_file_range(slot, &from_offset, to, &to_offset, o.length, 0));
    }
    case Kind::kChmodHandle:
      return outcome(fchmod(slot, static_cast<mode_t>(o.flags)));
    case Kind::kSync:
      return outcome(fsync(slot));
    default:
      return attributes(slot, false);
  }
}

}  // namespace larder::model
