#include "source/operations.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/stat.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <climits>
#include <memory>

#include "source/proc_path.h"

namespace larder::source::operations {
namespace {

int64_t nanoseconds(const struct statx_timestamp& time) {
  return time.tv_sec * 1'000'000'000 + time.tv_nsec;
}

struct timespec to_timespec(int64_t time_ns) {
  int64_t seconds = time_ns / 1'000'000'000;
  int64_t rest = time_ns % 1'000'000'000;
  if (rest < 0) {  // before 1970
    --seconds;
    rest += 1'000'000'000;
  }
  return {.tv_sec = seconds, .tv_nsec = rest};
}

struct timespec new_time(const std::optional<int64_t>& time_ns, bool now) {
  if (now) return {.tv_sec = 0, .tv_nsec = UTIME_NOW};
  if (time_ns) return to_timespec(*time_ns);
  return {.tv_sec = 0, .tv_nsec = UTIME_OMIT};
}

// name "" means the descriptor itself.
Result<Attributes> statx_at(const Root& root, int fd, const char* name) {
  struct statx stat = {};
  if (::statx(fd, name, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS, &stat) != 0)
    return fail_errno();
  return Attributes{
      .inode = root.file_number(stat.stx_ino, makedev(stat.stx_dev_major, stat.stx_dev_minor)),
      .mode = stat.stx_mode,
      .nlink = stat.stx_nlink,
      .uid = stat.stx_uid,
      .gid = stat.stx_gid,
      .rdev = makedev(stat.stx_rdev_major, stat.stx_rdev_minor),
      .size_bytes = stat.stx_size,
      .blocks_512 = stat.stx_blocks,
      .times = {nanoseconds(stat.stx_atime), nanoseconds(stat.stx_mtime),
                nanoseconds(stat.stx_ctime)},
  };
}

Result<void> truncate_fd(int fd, uint64_t size_bytes) {
  const auto size = static_cast<off_t>(size_bytes);
  if (size < 0) return fail(static_cast<Code>(EFBIG));
  if (::ftruncate(fd, size) == 0) return {};
  // EBADF: an O_PATH descriptor; EINVAL: one not open for writing.
  if (errno != EBADF && errno != EINVAL) return fail_errno();
  if (::truncate(ProcPath(fd).c_str(), size) != 0) return fail_errno();
  return {};
}

// Takes what open(2) gave; keeps regular files only.
Result<OpenedFd> opened_file(const Root& root, UniqueFd fd) {
  OpenedFd opened;
  TRY_ASSIGN(opened.attributes, attributes(root, fd.get()));
  if (S_ISDIR(opened.attributes.mode)) return fail(static_cast<Code>(EISDIR));
  if (!S_ISREG(opened.attributes.mode)) return fail(Code::kInvalid, "not a regular file");
  const int flags = ::fcntl(fd.get(), F_GETFL);
  if (flags < 0 || ::fcntl(fd.get(), F_SETFL, flags & ~O_NONBLOCK) != 0) return fail_errno();
  opened.fd = std::move(fd);
  return opened;
}

// O_NONBLOCK: a FIFO put in the file's place must not hang the thread, nor a device do anything.
constexpr int kOpenAlways = O_NOFOLLOW | O_NOCTTY | O_NONBLOCK | O_CLOEXEC;
constexpr int kOpenFlags = O_ACCMODE | O_APPEND | O_TRUNC;
constexpr int kCreateFlags = kOpenFlags | O_EXCL;

}  // namespace

Result<Attributes> attributes(const Root& root, int fd) {
  return statx_at(root, fd, "");
}

Result<Attributes> attributes(const Root& root, const std::string& path) {
  TRY_ASSIGN(const UniqueFd node, root.node(path));
  return attributes(root, node.get());
}

Result<Attributes> set_attributes(const Root& root, int fd, const AttributeChange& change) {
  const ProcPath itself(fd);
  // chown(2) clears set-id bits and a new size changes mtime: so mode comes after owner, times
  // last.
  if (change.uid || change.gid) {
    const auto uid = change.uid.value_or(static_cast<uid_t>(-1));
    const auto gid = change.gid.value_or(static_cast<gid_t>(-1));
    if (::fchownat(fd, "", uid, gid, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) != 0)
      return fail_errno("chown");
  }
  if (change.cleared_permissions != 0) {
    TRY_ASSIGN(const Attributes before, attributes(root, fd));
    // Who is not permitted to has no right to keep them either: there it is the server that takes
    // them away, and what comes after this must not fail for it.
    if ((before.mode & change.cleared_permissions) != 0 &&
        ::chmod(itself.c_str(), before.mode & 07777 & ~change.cleared_permissions) != 0 &&
        errno != EPERM)
      return fail_errno("chmod");
  }
  if (change.size_bytes) TRY(truncate_fd(fd, *change.size_bytes));
  if (change.permissions && ::chmod(itself.c_str(), *change.permissions & 07777) != 0)
    return fail_errno("chmod");
  if (change.atime_ns || change.atime_now || change.mtime_ns || change.mtime_now) {
    const struct timespec times[2] = {new_time(change.atime_ns, change.atime_now),
                                      new_time(change.mtime_ns, change.mtime_now)};
    if (::utimensat(AT_FDCWD, itself.c_str(), times, 0) != 0) return fail_errno("utimens");
  }
  return attributes(root, fd);
}

Result<Attributes> set_attributes(const Root& root, const std::string& path,
                                  const AttributeChange& change) {
  TRY_ASSIGN(const UniqueFd node, root.node(path));
  return set_attributes(root, node.get(), change);
}

Result<std::string> read_link(const Root& root, const std::string& path) {
  TRY_ASSIGN(const UniqueFd node, root.node(path));
  std::string target(PATH_MAX, '\0');
  const ssize_t length = ::readlinkat(node.get(), "", target.data(), target.size());
  // An O_PATH descriptor of something else says ENOENT.
  if (length < 0) return errno == ENOENT ? fail(Code::kInvalid) : fail_errno();
  target.resize(static_cast<size_t>(length));
  return target;
}

Result<std::vector<DirectoryEntry>> list(const Root& root, const std::string& path) {
  TRY_ASSIGN(UniqueFd directory, root.open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  const std::unique_ptr<DIR, int (*)(DIR*)> stream(::fdopendir(directory.get()), ::closedir);
  if (!stream) return fail_errno();
  directory.release();  // the stream's now
  std::vector<DirectoryEntry> entries;
  while (true) {
    errno = 0;
    const struct dirent* entry = ::readdir(stream.get());
    if (entry == nullptr) break;
    const std::string_view name = entry->d_name;
    if (name == "." || name == "..") continue;
    entries.push_back(
        {std::string(name), entry->d_ino, static_cast<uint32_t>(DTTOIF(entry->d_type))});
  }
  if (errno != 0) return fail_errno();
  return entries;
}

Result<void> sync_directory(const Root& root, const std::string& path, bool data_only) {
  TRY_ASSIGN(const UniqueFd directory, root.open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  if ((data_only ? ::fdatasync(directory.get()) : ::fsync(directory.get())) != 0)
    return fail_errno();
  return {};
}

Result<struct statvfs> space(const Root& root) {
  TRY_ASSIGN(const UniqueFd node, root.node(""));
  struct statvfs stat = {};
  if (::fstatvfs(node.get(), &stat) != 0) return fail_errno();
  return stat;
}

Result<OpenedFd> open_file(const Root& root, const std::string& path, int flags) {
  auto fd = root.open(path, (flags & kOpenFlags) | kOpenAlways);
  if (!fd && fd.error().is(static_cast<Code>(EAGAIN))) {
    // A lease is being broken (only regular files have any): now wait for it.
    TRY_ASSIGN(const Attributes found, attributes(root, path));
    if (!S_ISREG(found.mode)) return fail(Code::kInvalid, "not a regular file");
    fd = root.open(path, (flags & kOpenFlags) | (kOpenAlways & ~O_NONBLOCK));
  }
  if (!fd) return fail(std::move(fd).error());
  return opened_file(root, std::move(*fd));
}

Result<OpenedFd> reopen(const Root& root, int fd, int flags) {
  UniqueFd again(::open(ProcPath(fd).c_str(), (flags & kOpenFlags) | (kOpenAlways & ~O_NOFOLLOW)));
  if (!again) return fail_errno();
  return opened_file(root, std::move(again));
}

Result<OpenedFd> create_file(const Root& root, const std::string& path, int flags, uint32_t mode,
                             const Creator& creator) {
  TRY_ASSIGN(const Root::Parent parent, root.parent(path));
  UniqueFd fd;
  {
    const CallerIdentity identity(creator.caller, creator.act_as_caller);
    TRY(identity.status());
    fd = UniqueFd(::openat(parent.directory.get(), parent.name.c_str(),
                           (flags & kCreateFlags) | O_CREAT | kOpenAlways, mode & 07777));
    if (!fd) return fail_errno();
  }
  return opened_file(root, std::move(fd));
}

Result<Attributes> make_directory(const Root& root, const std::string& path, uint32_t mode,
                                  const Creator& creator) {
  TRY_ASSIGN(const Root::Parent parent, root.parent(path));
  {
    const CallerIdentity identity(creator.caller, creator.act_as_caller);
    TRY(identity.status());
    if (::mkdirat(parent.directory.get(), parent.name.c_str(), mode & 07777) != 0)
      return fail_errno();
  }
  return statx_at(root, parent.directory.get(), parent.name.c_str());
}

Result<Attributes> make_node(const Root& root, const std::string& path, uint32_t mode,
                             uint64_t rdev, const Creator& creator) {
  TRY_ASSIGN(const Root::Parent parent, root.parent(path));
  {
    const CallerIdentity identity(creator.caller, creator.act_as_caller);
    TRY(identity.status());
    if (::mknodat(parent.directory.get(), parent.name.c_str(), mode, rdev) != 0)
      return fail_errno();
  }
  return statx_at(root, parent.directory.get(), parent.name.c_str());
}

Result<Attributes> make_symlink(const Root& root, const std::string& target,
                                const std::string& path, const Creator& creator) {
  TRY_ASSIGN(const Root::Parent parent, root.parent(path));
  {
    const CallerIdentity identity(creator.caller, creator.act_as_caller);
    TRY(identity.status());
    if (::symlinkat(target.c_str(), parent.directory.get(), parent.name.c_str()) != 0)
      return fail_errno();
  }
  return statx_at(root, parent.directory.get(), parent.name.c_str());
}

Result<Attributes> link(const Root& root, const std::string& path, const std::string& new_path) {
  TRY_ASSIGN(const Root::Parent from, root.parent(path));
  TRY_ASSIGN(const Root::Parent to, root.parent(new_path));
  if (::linkat(from.directory.get(), from.name.c_str(), to.directory.get(), to.name.c_str(), 0) !=
      0)
    return fail_errno();
  return statx_at(root, to.directory.get(), to.name.c_str());
}

Result<void> unlink(const Root& root, const std::string& path, int flags) {
  TRY_ASSIGN(const Root::Parent parent, root.parent(path));
  if (::unlinkat(parent.directory.get(), parent.name.c_str(), flags) != 0) return fail_errno();
  return {};
}

Result<void> rename(const Root& root, const std::string& path, const std::string& new_path,
                    unsigned flags) {
  TRY_ASSIGN(const Root::Parent from, root.parent(path));
  TRY_ASSIGN(const Root::Parent to, root.parent(new_path));
  if (::renameat2(from.directory.get(), from.name.c_str(), to.directory.get(), to.name.c_str(),
                  flags) != 0)
    return fail_errno();
  return {};
}

}  // namespace larder::source::operations
