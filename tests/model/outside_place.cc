#include "model/outside_place.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <utility>

#include "support/files.h"

namespace larder::model::outside {
namespace {

using testing_support::Descriptor;

Outcome failed() {
  return {errno, 0, {}};
}
template <class T>
Outcome outcome(T result) {
  return result < 0 ? failed() : Outcome{0, static_cast<int64_t>(result), {}};
}

Outcome write_at(int fd, const std::string& data, uint64_t offset) {
  size_t done = 0;
  while (done < data.size()) {
    const ssize_t n =
        pwrite(fd, data.data() + done, data.size() - done, static_cast<off_t>(offset + done));
    if (n < 0) return failed();
    done += static_cast<size_t>(n);
  }
  return {0, static_cast<int64_t>(done), {}};
}

Outcome open_and_write(const std::string& path, int flags, const std::string& data,
                       uint64_t offset) {
  const Descriptor file(path, O_WRONLY | O_NOFOLLOW | flags);
  if (!file.valid()) return {file.error(), 0, {}};
  return write_at(file.get(), data, offset);
}

std::array<timespec, 2> times_of(uint64_t seed) {
  const timespec time{static_cast<time_t>(1'000'000'000 + seed % 100'000'000),
                      static_cast<long>(seed % 1'000'000'000)};
  return {time, time};
}

int move_name(const std::string& from, const std::string& to, unsigned flags) {
  return renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), flags);
}

}  // namespace

bool is_readable(int fd) {
  return (fcntl(fd, F_GETFL) & O_ACCMODE) != O_WRONLY;
}

Outcome read_from(int fd, uint64_t offset, uint64_t length) {
  auto content = testing_support::read_at(fd, offset, length);
  return {content.error, static_cast<int64_t>(content.data.size()), std::move(content.data)};
}

Place::Place(std::string root) : root_(std::move(root)) {
  files_.fill(-1);
  directories_.fill(-1);
}

void Place::close_all() {
  for (int& fd : files_)
    if (fd >= 0) ::close(std::exchange(fd, -1));
  for (int& fd : directories_)
    if (fd >= 0) ::close(std::exchange(fd, -1));
}

Outcome Place::apply(const Action& action) {
  if (action.kind < Kind::kUnlink) return change_file(action);
  if (action.kind < Kind::kReadFile) return change_names(action);
  if (action.kind < Kind::kOpen) return look(action);
  return action.kind < Kind::kOpenDirectory ? use_file(action) : use_directory(action);
}

Outcome Place::replace(const Action& action) {
  const std::string beside = at(action.temporary);
  Outcome result = open_and_write(beside, O_CREAT | O_EXCL, action.data, 0);
  if (result.error != 0) return result;
  if (move_name(beside, at(action.path), 0) != 0) {
    result = failed();
    unlink(beside.c_str());
  }
  return result;
}

Outcome Place::change_file(const Action& action) {
  const std::string path = at(action.path);
  switch (action.kind) {
    case Kind::kCreate:
      return open_and_write(path, O_CREAT | O_EXCL, action.data, 0);
    case Kind::kReplace:
      return replace(action);
    case Kind::kRewrite:
      return open_and_write(path, 0, action.data, action.offset);
    case Kind::kAppend:
      return open_and_write(path, O_APPEND, action.data, action.offset);
    case Kind::kOverwrite:
      return open_and_write(path, O_TRUNC, action.data, 0);
    case Kind::kShrink:
      return outcome(truncate(path.c_str(), static_cast<off_t>(action.offset)));
    case Kind::kChmod:
      return outcome(fchmodat(AT_FDCWD, path.c_str(), static_cast<mode_t>(action.flags), 0));
    case Kind::kSetTimes:
      return outcome(
          utimensat(AT_FDCWD, path.c_str(), times_of(action.seed).data(), AT_SYMLINK_NOFOLLOW));
    default: {
      const std::string value = fmt::format("{}", action.seed);
      return outcome(lsetxattr(path.c_str(), "user.x", value.data(), value.size(), 0));
    }
  }
}

Outcome Place::change_names(const Action& action) {
  const std::string path = at(action.path);
  const std::string other = at(action.other);
  switch (action.kind) {
    case Kind::kUnlink:
      return outcome(unlink(path.c_str()));
    case Kind::kRename:
      return outcome(move_name(path, other, 0));
    case Kind::kMoveDirectory:
      return outcome(move_name(path, other, RENAME_NOREPLACE));
    case Kind::kExchange:
    case Kind::kExchangeDirectories:
      return outcome(move_name(path, other, RENAME_EXCHANGE));
    case Kind::kLink:
      return outcome(link(path.c_str(), other.c_str()));
    case Kind::kSymlink: {
      const std::string beside = at(action.temporary);
      if (symlink(action.other.c_str(), beside.c_str()) != 0) return failed();
      const Outcome result = outcome(move_name(beside, path, 0));
      if (result.error != 0) unlink(beside.c_str());
      return result;
    }
    case Kind::kMakeDirectory:
      return outcome(mkdir(path.c_str(), 0755));
    default:
      return outcome(rmdir(path.c_str()));
  }
}

Outcome Place::look(const Action& action) {
  const std::string path = at(action.path);
  if (action.kind == Kind::kReadFile) {
    const Descriptor file(path, O_RDONLY | O_NOFOLLOW);
    return file.valid() ? read_from(file.get(), 0, 1 << 24) : Outcome{file.error(), 0, {}};
  }
  if (action.kind == Kind::kStat) return attributes(path, false);
  if (action.kind == Kind::kList) return list(path);
  char target[4096];
  const ssize_t length = readlink(path.c_str(), target, sizeof target);
  if (length < 0) return failed();
  return {0, length, std::string(target, static_cast<size_t>(length))};
}

Outcome Place::use_file(const Action& action) {
  int& fd = files_.at(action.slot);
  if (action.kind == Kind::kOpen) {
    if (fd >= 0) ::close(std::exchange(fd, -1));
    fd = ::open(at(action.path).c_str(), action.flags | O_CLOEXEC | O_NOFOLLOW, 0644);
    return fd < 0 ? failed() : Outcome{};
  }
  if (fd < 0) return {EBADF, 0, {}};
  switch (action.kind) {
    case Kind::kClose:
      return outcome(::close(std::exchange(fd, -1)));
    case Kind::kWrite:
      return write_at(fd, action.data, action.offset);
    case Kind::kTruncate:
      return outcome(ftruncate(fd, static_cast<off_t>(action.offset)));
    case Kind::kChmodHandle:
      return outcome(fchmod(fd, static_cast<mode_t>(action.flags)));
    case Kind::kSetTimesHandle:
      return outcome(futimens(fd, times_of(action.seed).data()));
    case Kind::kSetXattrHandle: {
      const std::string value = fmt::format("{}", action.seed);
      return outcome(fsetxattr(fd, "user.x", value.data(), value.size(), 0));
    }
    default:
      return outcome(fsync(fd));
  }
}

Outcome Place::use_directory(const Action& action) {
  int& fd = directories_.at(action.slot);
  if (action.kind == Kind::kOpenDirectory) {
    if (fd >= 0) ::close(std::exchange(fd, -1));
    fd = ::open(at(action.path).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    return fd < 0 ? failed() : Outcome{};
  }
  if (fd < 0) return {EBADF, 0, {}};
  const char* name = action.other.c_str();
  switch (action.kind) {
    case Kind::kCreateIn: {
      const Descriptor file(
          openat(fd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0640));
      return file.valid() ? write_at(file.get(), action.data, 0) : Outcome{file.error(), 0, {}};
    }
    case Kind::kUnlinkIn:
      return outcome(unlinkat(fd, name, 0));
    case Kind::kRenameIn:
      return outcome(renameat2(fd, name, fd, action.temporary.c_str(), RENAME_NOREPLACE));
    default:
      return list(fmt::format("/proc/self/fd/{}/.", fd));
  }
}

}  // namespace larder::model::outside
