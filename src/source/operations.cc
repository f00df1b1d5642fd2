#include "source/operations.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/stat.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <climits>
#include <memory>

#include "source/open_beneath.h"
#include "source/proc_path.h"

namespace larder::source::operations {
namespace {

struct timespec new_time(const std::optional<Timestamp>& time, bool now) {
  if (now) return {.tv_sec = 0, .tv_nsec = UTIME_NOW};
  if (time) return time->timespec();
  return {.tv_sec = 0, .tv_nsec = UTIME_OMIT};
}

// name "" means the descriptor itself.
Result<Attributes> statx_at(const Root& root, int fd, const std::string& name) {
  struct statx stat = {};
  if (::statx(fd, name.c_str(), AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS, &stat) != 0)
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
      .times = {Timestamp::of(stat.stx_atime), Timestamp::of(stat.stx_mtime),
                Timestamp::of(stat.stx_ctime)},
  };
}

// What is made, removed or renamed is a name in a directory.
Result<void> check_named(const At& at) {
  if (at.name.empty()) return fail(Code::kBusy, "the source's root");
  return {};
}

Result<void> check_number(const At& at, const Attributes& found) {
  if (at.number != 0 && at.number != found.inode) return fail(Code::kStale, "another file");
  return {};
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

Result<Attributes> attributes(const Root& root, const At& at) {
  return statx_at(root, at.directory, at.name);
}

Result<UniqueFd> node(const Root& root, const At& at) {
  TRY_ASSIGN(UniqueFd node, open_beneath(at.directory, at.name, O_PATH | O_NOFOLLOW));
  if (at.number == 0) return node;
  TRY_ASSIGN(const Attributes found, attributes(root, node.get()));
  TRY(check_number(at, found));
  return node;
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
  if (change.atime || change.atime_now || change.mtime || change.mtime_now) {
    const struct timespec times[2] = {new_time(change.atime, change.atime_now),
                                      new_time(change.mtime, change.mtime_now)};
    if (::utimensat(AT_FDCWD, itself.c_str(), times, 0) != 0) return fail_errno("utimens");
  }
  return attributes(root, fd);
}

Result<Attributes> set_attributes(const Root& root, const At& at, const AttributeChange& change) {
  TRY_ASSIGN(const UniqueFd file, node(root, at));
  return set_attributes(root, file.get(), change);
}

Result<std::string> read_link(const Root& root, const At& at) {
  TRY_ASSIGN(const UniqueFd link, node(root, at));
  std::string target(PATH_MAX, '\0');
  const ssize_t length = ::readlinkat(link.get(), "", target.data(), target.size());
  // An O_PATH descriptor of something else says ENOENT.
  if (length < 0) return errno == ENOENT ? fail(Code::kInvalid) : fail_errno();
  target.resize(static_cast<size_t>(length));
  return target;
}

Result<Listing> list(const Root& root, int directory) {
  TRY_ASSIGN(UniqueFd opened, open_beneath(directory, "", O_RDONLY | O_DIRECTORY));
  const std::unique_ptr<DIR, int (*)(DIR*)> stream(::fdopendir(opened.get()), ::closedir);
  if (!stream) return fail_errno();
  opened.release();  // the stream's now
  const bool numbers_files = root.numbers_entries(::dirfd(stream.get()));
  Listing listing;
  bool shows_itself = false;
  while (true) {
    errno = 0;
    const struct dirent* entry = ::readdir(stream.get());
    if (entry == nullptr) break;
    const std::string_view name = entry->d_name;
    shows_itself |= name == ".";
    if (name == "." || name == "..") continue;
    listing.entries.push_back({std::string(name), numbers_files ? entry->d_ino : 0,
                               static_cast<uint32_t>(DTTOIF(entry->d_type))});
  }
  if (errno != 0) return fail_errno();
  // There are file systems that never list it.
  struct stat stat = {};
  listing.is_removed = !shows_itself && listing.entries.empty() &&
                       ::fstat(::dirfd(stream.get()), &stat) == 0 && stat.st_nlink == 0;
  return listing;
}

Result<void> sync_directory(int directory, bool data_only) {
  TRY_ASSIGN(const UniqueFd opened, open_beneath(directory, "", O_RDONLY | O_DIRECTORY));
  if ((data_only ? ::fdatasync(opened.get()) : ::fsync(opened.get())) != 0) return fail_errno();
  return {};
}

Result<struct statvfs> space(int directory) {
  struct statvfs stat = {};
  if (::fstatvfs(directory, &stat) != 0) return fail_errno();
  return stat;
}

Result<OpenedDirectory> open_directory(const Root& root, const At& at) {
  OpenedDirectory opened;
  TRY_ASSIGN(opened.fd, open_beneath(at.directory, at.name, O_PATH | O_DIRECTORY));
  // The number is the kernel's already: a remote source is not asked for it.
  struct statx stat = {};
  if (::statx(opened.fd.get(), "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_INO, &stat) != 0)
    return fail_errno();
  opened.number = root.file_number(stat.stx_ino, makedev(stat.stx_dev_major, stat.stx_dev_minor));
  if (at.number != 0 && at.number != opened.number) return fail(Code::kStale, "another directory");
  return opened;
}

Result<OpenedFd> open_file(const Root& root, const At& at, int flags) {
  // Another file must not be emptied: first seen which one it is, then truncated.
  const bool truncates_later = (flags & O_TRUNC) != 0 && at.number != 0;
  const int now = kOpenFlags & (truncates_later ? ~O_TRUNC : ~0) & flags;
  auto fd = open_beneath(at.directory, at.name, now | kOpenAlways);
  if (!fd && fd.error().is(static_cast<Code>(EAGAIN))) {
    // A lease is being broken (only regular files have any): now wait for it.
    TRY_ASSIGN(const Attributes found, attributes(root, at));
    if (!S_ISREG(found.mode)) return fail(Code::kInvalid, "not a regular file");
    fd = open_beneath(at.directory, at.name, now | (kOpenAlways & ~O_NONBLOCK));
  }
  if (!fd) return fail(std::move(fd).error());
  TRY_ASSIGN(OpenedFd opened, opened_file(root, std::move(*fd)));
  if (!truncates_later) return opened;
  TRY(check_number(at, opened.attributes));
  TRY(truncate_fd(opened.fd.get(), 0));
  TRY_ASSIGN(opened.attributes, attributes(root, opened.fd.get()));
  return opened;
}

Result<OpenedFd> reopen(const Root& root, int fd, int flags) {
  UniqueFd again(::open(ProcPath(fd).c_str(), (flags & kOpenFlags) | (kOpenAlways & ~O_NOFOLLOW)));
  if (!again) return fail_errno();
  return opened_file(root, std::move(again));
}

Result<OpenedFd> create_file(const Root& root, const At& at, int flags, uint32_t mode,
                             const Creator& creator) {
  TRY(check_named(at));
  UniqueFd fd;
  {
    const CallerIdentity identity(creator.caller, creator.act_as_caller);
    TRY(identity.status());
    fd = UniqueFd(::openat(at.directory, at.name.c_str(),
                           (flags & kCreateFlags) | O_CREAT | kOpenAlways, mode & 07777));
    if (!fd) return fail_errno();
  }
  return opened_file(root, std::move(fd));
}

Result<Attributes> make_directory(const Root& root, const At& at, uint32_t mode,
                                  const Creator& creator) {
  TRY(check_named(at));
  {
    const CallerIdentity identity(creator.caller, creator.act_as_caller);
    TRY(identity.status());
    if (::mkdirat(at.directory, at.name.c_str(), mode & 07777) != 0) return fail_errno();
  }
  return statx_at(root, at.directory, at.name);
}

Result<Attributes> make_node(const Root& root, const At& at, uint32_t mode, uint64_t rdev,
                             const Creator& creator) {
  TRY(check_named(at));
  {
    const CallerIdentity identity(creator.caller, creator.act_as_caller);
    TRY(identity.status());
    if (::mknodat(at.directory, at.name.c_str(), mode, rdev) != 0) return fail_errno();
  }
  return statx_at(root, at.directory, at.name);
}

Result<Attributes> make_symlink(const Root& root, const std::string& target, const At& at,
                                const Creator& creator) {
  TRY(check_named(at));
  {
    const CallerIdentity identity(creator.caller, creator.act_as_caller);
    TRY(identity.status());
    if (::symlinkat(target.c_str(), at.directory, at.name.c_str()) != 0) return fail_errno();
  }
  return statx_at(root, at.directory, at.name);
}

Result<Attributes> link(const Root& root, const At& at, const At& new_at) {
  TRY(check_named(at));
  TRY(check_named(new_at));
  // By its descriptor: the name may lead to another file by now.
  TRY_ASSIGN(const UniqueFd file, node(root, at));
  if (::linkat(AT_FDCWD, ProcPath(file.get()).c_str(), new_at.directory, new_at.name.c_str(),
               AT_SYMLINK_FOLLOW) != 0)
    return fail_errno();
  return statx_at(root, new_at.directory, new_at.name);
}

Result<void> unlink(const At& at, int flags) {
  TRY(check_named(at));
  if (::unlinkat(at.directory, at.name.c_str(), flags) != 0) return fail_errno();
  return {};
}

Result<void> rename(const At& at, const At& new_at, unsigned flags) {
  TRY(check_named(at));
  TRY(check_named(new_at));
  if (::renameat2(at.directory, at.name.c_str(), new_at.directory, new_at.name.c_str(), flags) != 0)
    return fail_errno();
  return {};
}

}  // namespace larder::source::operations
