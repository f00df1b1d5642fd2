#include "operations.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

namespace larder::slow_source {

namespace {

Context& context(fuse_req_t req) {
  return *static_cast<Context*>(fuse_req_userdata(req));
}
Tree& tree(fuse_req_t req) {
  return context(req).tree;
}

// False when the request was made to fail; it is answered then.
bool admitted(fuse_req_t req, Kind kind) {
  const int error = context(req).faults.enter(kind);
  if (error != 0) fuse_reply_err(req, error);
  return error == 0;
}

// For system calls that return -1 and set errno.
void reply_status(fuse_req_t req, int status) {
  fuse_reply_err(req, status == -1 ? errno : 0);
}

int handle_fd(const fuse_file_info* fi) {
  return static_cast<int>(fi->fh);
}

void init(void*, fuse_conn_info* conn) {
  conn->max_background = 512;  // let readahead and asynchronous reads wait in parallel
  conn->congestion_threshold = 512;
}

int look_up(fuse_req_t req, fuse_ino_t parent, const char* name, fuse_entry_param* entry) {
  const int error = tree(req).lookup(parent, name, entry);
  entry->attr_timeout = entry->entry_timeout = context(req).faults.attr_ttl_s();
  return error;
}

void reply_entry(fuse_req_t req, fuse_ino_t parent, const char* name) {
  fuse_entry_param entry{};
  const int error = look_up(req, parent, name, &entry);
  if (error != 0) {
    fuse_reply_err(req, error);
  } else if (fuse_reply_entry(req, &entry) != 0) {
    tree(req).forget(entry.ino, 1);  // the kernel did not get to know it
  }
}

void lookup(fuse_req_t req, fuse_ino_t parent, const char* name) {
  if (admitted(req, Kind::kLookup)) reply_entry(req, parent, name);
}

void forget(fuse_req_t req, fuse_ino_t node, uint64_t lookups) {
  tree(req).forget(node, lookups);
  fuse_reply_none(req);
}

void forget_multi(fuse_req_t req, size_t count, fuse_forget_data* forgets) {
  for (size_t i = 0; i < count; ++i) tree(req).forget(forgets[i].ino, forgets[i].nlookup);
  fuse_reply_none(req);
}

void reply_attributes(fuse_req_t req, fuse_ino_t node, const fuse_file_info* fi) {
  struct stat attributes;
  if (fi != nullptr) {
    if (fstat(handle_fd(fi), &attributes) != 0) return reply_status(req, -1);
  } else {
    const Fd fd = tree(req).at(node);
    if (!fd || fstat(fd.get(), &attributes) != 0) return reply_status(req, -1);
  }
  fuse_reply_attr(req, &attributes, context(req).faults.attr_ttl_s());
}

void getattr(fuse_req_t req, fuse_ino_t node, fuse_file_info* fi) {
  if (!admitted(req, Kind::kGetattr)) return;
  reply_attributes(req, node, fi);
}

timespec time_to_set(int to_set, int flag, int flag_now, timespec given) {
  if ((to_set & flag_now) != 0) return {.tv_sec = 0, .tv_nsec = UTIME_NOW};
  if ((to_set & flag) != 0) return given;
  return {.tv_sec = 0, .tv_nsec = UTIME_OMIT};
}

int apply(const Fd& fd, const struct stat& wanted, int to_set, const fuse_file_info* fi) {
  const std::string path = fd.path();
  if ((to_set & (FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID)) != 0) {
    const uid_t uid = (to_set & FUSE_SET_ATTR_UID) != 0 ? wanted.st_uid : static_cast<uid_t>(-1);
    const gid_t gid = (to_set & FUSE_SET_ATTR_GID) != 0 ? wanted.st_gid : static_cast<gid_t>(-1);
    if (fchownat(fd.get(), "", uid, gid, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) != 0) return -1;
  }
  if ((to_set & FUSE_SET_ATTR_SIZE) != 0) {
    const int status = fi != nullptr ? ftruncate(handle_fd(fi), wanted.st_size)
                                     : truncate(path.c_str(), wanted.st_size);
    if (status != 0) return -1;
  }
  // After chown, which takes set-id bits away.
  if ((to_set & FUSE_SET_ATTR_MODE) != 0 && chmod(path.c_str(), wanted.st_mode & 07777) != 0)
    return -1;
  constexpr int kTimes =
      FUSE_SET_ATTR_ATIME | FUSE_SET_ATTR_ATIME_NOW | FUSE_SET_ATTR_MTIME | FUSE_SET_ATTR_MTIME_NOW;
  if ((to_set & kTimes) != 0) {
    const timespec times[2] = {
        time_to_set(to_set, FUSE_SET_ATTR_ATIME, FUSE_SET_ATTR_ATIME_NOW, wanted.st_atim),
        time_to_set(to_set, FUSE_SET_ATTR_MTIME, FUSE_SET_ATTR_MTIME_NOW, wanted.st_mtim)};
    if (utimensat(AT_FDCWD, path.c_str(), times, 0) != 0) return -1;
  }
  return 0;
}

void setattr(fuse_req_t req, fuse_ino_t node, struct stat* wanted, int to_set, fuse_file_info* fi) {
  if (!admitted(req, Kind::kSetattr)) return;
  const Fd fd = tree(req).at(node);
  if (!fd || apply(fd, *wanted, to_set, fi) != 0) return reply_status(req, -1);
  reply_attributes(req, node, fi);
}

void readlink(fuse_req_t req, fuse_ino_t node) {
  if (!admitted(req, Kind::kReadlink)) return;
  char target[PATH_MAX + 1];
  const Fd fd = tree(req).at(node);
  const ssize_t length = fd ? readlinkat(fd.get(), "", target, PATH_MAX) : -1;
  if (length < 0) return reply_status(req, -1);
  target[length] = '\0';
  fuse_reply_readlink(req, target);
}

// A new file belongs to the caller, its group to the directory's set-group-id bit.
int give_to_caller(fuse_req_t req, const Fd& parent, const char* name, mode_t mode) {
  const fuse_ctx* caller = fuse_req_ctx(req);
  if (geteuid() != 0) return 0;
  struct stat directory;
  if (fstat(parent.get(), &directory) != 0) return -1;
  const bool inherits = (directory.st_mode & S_ISGID) != 0;
  const gid_t gid = inherits ? static_cast<gid_t>(-1) : caller->gid;
  if (fchownat(parent.get(), name, caller->uid, gid, AT_SYMLINK_NOFOLLOW) != 0) return -1;
  if (S_ISREG(mode) && (mode & (S_ISUID | S_ISGID)) != 0)  // chown took them away
    return fchmodat(parent.get(), name, mode & 07777, 0);
  return 0;
}

// Ends an operation that made `name`: `status` is that of the system call.
void reply_made(fuse_req_t req, fuse_ino_t parent_node, const Fd& parent, const char* name,
                mode_t mode, int status) {
  if (status != 0 || give_to_caller(req, parent, name, mode) != 0) return reply_status(req, -1);
  reply_entry(req, parent_node, name);
}

void mknod(fuse_req_t req, fuse_ino_t parent_node, const char* name, mode_t mode, dev_t device) {
  if (!admitted(req, Kind::kMknod)) return;
  const Fd parent = tree(req).at(parent_node);
  const int status = parent ? mknodat(parent.get(), name, mode, device) : -1;
  reply_made(req, parent_node, parent, name, mode, status);
}

void mkdir(fuse_req_t req, fuse_ino_t parent_node, const char* name, mode_t mode) {
  if (!admitted(req, Kind::kMkdir)) return;
  const Fd parent = tree(req).at(parent_node);
  const int status = parent ? mkdirat(parent.get(), name, mode) : -1;
  reply_made(req, parent_node, parent, name, S_IFDIR | mode, status);
}

void symlink(fuse_req_t req, const char* target, fuse_ino_t parent_node, const char* name) {
  if (!admitted(req, Kind::kSymlink)) return;
  const Fd parent = tree(req).at(parent_node);
  const int status = parent ? symlinkat(target, parent.get(), name) : -1;
  reply_made(req, parent_node, parent, name, S_IFLNK, status);
}

void link(fuse_req_t req, fuse_ino_t node, fuse_ino_t parent_node, const char* name) {
  if (!admitted(req, Kind::kLink)) return;
  const Fd fd = tree(req).at(node);
  const Fd parent = tree(req).at(parent_node);
  if (!fd || !parent ||
      linkat(AT_FDCWD, fd.path().c_str(), parent.get(), name, AT_SYMLINK_FOLLOW) != 0)
    return reply_status(req, -1);
  reply_entry(req, parent_node, name);
}

void remove(fuse_req_t req, fuse_ino_t parent_node, const char* name, int flags) {
  const Fd parent = tree(req).at(parent_node);
  if (!parent) return reply_status(req, -1);
  Fd doomed = tree(req).hold(parent, name);
  if (unlinkat(parent.get(), name, flags) != 0) return reply_status(req, -1);
  tree(req).keep_alive(std::move(doomed));
  fuse_reply_err(req, 0);
}

void unlink(fuse_req_t req, fuse_ino_t parent, const char* name) {
  if (admitted(req, Kind::kUnlink)) remove(req, parent, name, 0);
}

void rmdir(fuse_req_t req, fuse_ino_t parent, const char* name) {
  if (admitted(req, Kind::kRmdir)) remove(req, parent, name, AT_REMOVEDIR);
}

void rename(fuse_req_t req, fuse_ino_t parent_node, const char* name, fuse_ino_t new_parent_node,
            const char* new_name, unsigned flags) {
  if (!admitted(req, Kind::kRename)) return;
  const Fd parent = tree(req).at(parent_node);
  const Fd new_parent = tree(req).at(new_parent_node);
  if (!parent || !new_parent) return reply_status(req, -1);
  Fd doomed = tree(req).hold(new_parent, new_name);
  if (renameat2(parent.get(), name, new_parent.get(), new_name, flags) != 0)
    return reply_status(req, -1);
  if ((flags & RENAME_EXCHANGE) == 0) tree(req).keep_alive(std::move(doomed));
  fuse_reply_err(req, 0);
}

// What may reach open(2) on the directory's side: the path is final, and the daemon's buffers are
// not aligned.
int passed_flags(int flags) {
  return (flags & ~(O_CREAT | O_EXCL | O_NOFOLLOW | O_DIRECT)) | O_CLOEXEC;
}

void fill_handle(fuse_req_t req, int fd, fuse_file_info* fi) {
  fi->fh = static_cast<uint64_t>(fd);
  fi->direct_io = context(req).faults.direct_io();
  fi->keep_cache = 0;
}

void open(fuse_req_t req, fuse_ino_t node, fuse_file_info* fi) {
  if (!admitted(req, Kind::kOpen)) return;
  const Fd fd = tree(req).at(node);
  const int opened = fd ? ::open(fd.path().c_str(), passed_flags(fi->flags)) : -1;
  if (opened < 0) return reply_status(req, -1);
  fill_handle(req, opened, fi);
  if (fuse_reply_open(req, fi) != 0) close(opened);
}

// A file that is there already is opened, but stays its owner's.
int open_new(fuse_req_t req, const Fd& parent, const char* name, mode_t mode, int flags) {
  const int passed = passed_flags(flags) | O_NOFOLLOW;
  const int made = openat(parent.get(), name, passed | O_CREAT | O_EXCL, mode);
  if (made < 0 && errno == EEXIST && (flags & O_EXCL) == 0)
    return openat(parent.get(), name, passed);
  if (made >= 0 && give_to_caller(req, parent, name, S_IFREG | mode) != 0) {
    const int error = errno;
    close(made);
    errno = error;
    return -1;
  }
  return made;
}

void create(fuse_req_t req, fuse_ino_t parent_node, const char* name, mode_t mode,
            fuse_file_info* fi) {
  if (!admitted(req, Kind::kCreate)) return;
  const Fd parent = tree(req).at(parent_node);
  const int opened = parent ? open_new(req, parent, name, mode, fi->flags) : -1;
  if (opened < 0) return reply_status(req, -1);
  fuse_entry_param entry{};
  const int error = look_up(req, parent_node, name, &entry);
  if (error != 0) {
    close(opened);
    fuse_reply_err(req, error);
    return;
  }
  fill_handle(req, opened, fi);
  if (fuse_reply_create(req, &entry, fi) != 0) {
    close(opened);
    tree(req).forget(entry.ino, 1);
  }
}

void read(fuse_req_t req, fuse_ino_t, size_t size, off_t offset, fuse_file_info* fi) {
  if (!admitted(req, Kind::kRead)) return;
  thread_local std::vector<char> buffer;
  buffer.resize(std::max(buffer.size(), size));
  const ssize_t length = pread(handle_fd(fi), buffer.data(), size, offset);
  if (length < 0) return reply_status(req, -1);
  context(req).faults.transfer(static_cast<size_t>(length));
  fuse_reply_buf(req, buffer.data(), static_cast<size_t>(length));
}

void write(fuse_req_t req, fuse_ino_t, const char* data, size_t size, off_t offset,
           fuse_file_info* fi) {
  if (!admitted(req, Kind::kWrite)) return;
  context(req).faults.transfer(size);
  const ssize_t length = pwrite(handle_fd(fi), data, size, offset);
  if (length < 0) return reply_status(req, -1);
  fuse_reply_write(req, static_cast<size_t>(length));
}

// close(2) on the directory's side reports what a file system reports at close.
void flush(fuse_req_t req, fuse_ino_t, fuse_file_info* fi) {
  if (admitted(req, Kind::kFlush)) reply_status(req, close(dup(handle_fd(fi))));
}

void release(fuse_req_t req, fuse_ino_t, fuse_file_info* fi) {
  context(req).faults.count(Kind::kRelease);
  close(handle_fd(fi));
  fuse_reply_err(req, 0);
}

void fsync(fuse_req_t req, fuse_ino_t, int data_only, fuse_file_info* fi) {
  if (!admitted(req, Kind::kFsync)) return;
  reply_status(req, data_only != 0 ? fdatasync(handle_fd(fi)) : ::fsync(handle_fd(fi)));
}

// An open directory.  `offset` is where the stream stands; -1: unknown.
struct Directory {
  explicit Directory(DIR* opened) : stream(opened) {}
  ~Directory() { closedir(stream); }
  Directory(const Directory&) = delete;
  Directory& operator=(const Directory&) = delete;
  DIR* const stream;
  off_t offset = 0;
};

Directory* directory_of(const fuse_file_info* fi) {
  return reinterpret_cast<Directory*>(fi->fh);
}

void opendir(fuse_req_t req, fuse_ino_t node, fuse_file_info* fi) {
  if (!admitted(req, Kind::kOpendir)) return;
  const Fd fd = tree(req).at(node);
  const int opened = fd ? openat(fd.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
  DIR* stream = opened >= 0 ? fdopendir(opened) : nullptr;
  if (stream == nullptr) {
    const int error = errno;
    if (opened >= 0) close(opened);
    fuse_reply_err(req, error);
    return;
  }
  auto* directory = new Directory(stream);
  fi->fh = reinterpret_cast<uint64_t>(directory);
  if (fuse_reply_open(req, fi) != 0) delete directory;
}

void readdir(fuse_req_t req, fuse_ino_t, size_t size, off_t offset, fuse_file_info* fi) {
  if (!admitted(req, Kind::kReaddir)) return;
  Directory& directory = *directory_of(fi);
  // At 0 always: a directory read from its start shows what is there now.
  if (offset == 0) {
    rewinddir(directory.stream);
  } else if (offset != directory.offset) {
    seekdir(directory.stream, offset);
  }
  directory.offset = offset;
  std::vector<char> buffer(size);
  size_t used = 0;
  for (;;) {
    errno = 0;
    const dirent* entry = ::readdir(directory.stream);
    if (entry == nullptr) {
      if (errno != 0 && used == 0) return reply_status(req, -1);
      break;
    }
    struct stat attributes{};
    attributes.st_ino = entry->d_ino;
    attributes.st_mode = DTTOIF(entry->d_type);
    const size_t needed = fuse_add_direntry(req, buffer.data() + used, size - used, entry->d_name,
                                            &attributes, entry->d_off);
    if (needed > size - used) {
      directory.offset = -1;  // the entry is read, but not delivered
      break;
    }
    used += needed;
    directory.offset = entry->d_off;
  }
  fuse_reply_buf(req, buffer.data(), used);
}

void releasedir(fuse_req_t req, fuse_ino_t, fuse_file_info* fi) {
  context(req).faults.count(Kind::kReleasedir);
  delete directory_of(fi);
  fuse_reply_err(req, 0);
}

void fsyncdir(fuse_req_t req, fuse_ino_t, int data_only, fuse_file_info* fi) {
  if (!admitted(req, Kind::kFsyncdir)) return;
  const int fd = dirfd(directory_of(fi)->stream);
  reply_status(req, data_only != 0 ? fdatasync(fd) : ::fsync(fd));
}

void statfs(fuse_req_t req, fuse_ino_t) {
  if (!admitted(req, Kind::kStatfs)) return;
  struct statvfs space;
  if (fstatvfs(tree(req).root_fd(), &space) != 0) return reply_status(req, -1);
  fuse_reply_statfs(req, &space);
}

void setxattr(fuse_req_t req, fuse_ino_t node, const char* name, const char* value, size_t size,
              int flags) {
  if (!admitted(req, Kind::kSetxattr)) return;
  const Fd fd = tree(req).at(node);
  reply_status(req, fd ? ::setxattr(fd.path().c_str(), name, value, size, flags) : -1);
}

// size 0 asks how long the answer is.
void reply_xattr(fuse_req_t req, const std::vector<char>& buffer, size_t size, ssize_t length) {
  if (length < 0) {
    reply_status(req, -1);
  } else if (size == 0) {
    fuse_reply_xattr(req, static_cast<size_t>(length));
  } else {
    fuse_reply_buf(req, buffer.data(), static_cast<size_t>(length));
  }
}

void getxattr(fuse_req_t req, fuse_ino_t node, const char* name, size_t size) {
  if (!admitted(req, Kind::kGetxattr)) return;
  std::vector<char> buffer(size);
  const Fd fd = tree(req).at(node);
  reply_xattr(req, buffer, size,
              fd ? ::getxattr(fd.path().c_str(), name, buffer.data(), size) : -1);
}

void listxattr(fuse_req_t req, fuse_ino_t node, size_t size) {
  if (!admitted(req, Kind::kListxattr)) return;
  std::vector<char> buffer(size);
  const Fd fd = tree(req).at(node);
  reply_xattr(req, buffer, size, fd ? ::listxattr(fd.path().c_str(), buffer.data(), size) : -1);
}

void removexattr(fuse_req_t req, fuse_ino_t node, const char* name) {
  if (!admitted(req, Kind::kRemovexattr)) return;
  const Fd fd = tree(req).at(node);
  reply_status(req, fd ? ::removexattr(fd.path().c_str(), name) : -1);
}

void fallocate(fuse_req_t req, fuse_ino_t, int mode, off_t offset, off_t length,
               fuse_file_info* fi) {
  if (!admitted(req, Kind::kFallocate)) return;
  reply_status(req, ::fallocate(handle_fd(fi), mode, offset, length));
}

void copy_file_range(fuse_req_t req, fuse_ino_t, off_t offset, fuse_file_info* fi, fuse_ino_t,
                     off_t to_offset, fuse_file_info* to, size_t length, int flags) {
  if (!admitted(req, Kind::kCopyFileRange)) return;
  const ssize_t copied = ::copy_file_range(handle_fd(fi), &offset, handle_fd(to), &to_offset,
                                           length, static_cast<unsigned>(flags));
  if (copied < 0) return reply_status(req, -1);
  fuse_reply_write(req, static_cast<size_t>(copied));
}

void lseek(fuse_req_t req, fuse_ino_t, off_t offset, int whence, fuse_file_info* fi) {
  if (!admitted(req, Kind::kLseek)) return;
  const off_t found = ::lseek(handle_fd(fi), offset, whence);
  if (found < 0) return reply_status(req, -1);
  fuse_reply_lseek(req, found);
}

}  // namespace

const fuse_lowlevel_ops kOperations = [] {
  fuse_lowlevel_ops ops{};
  ops.init = init;
  ops.lookup = lookup;
  ops.forget = forget;
  ops.forget_multi = forget_multi;
  ops.getattr = getattr;
  ops.setattr = setattr;
  ops.readlink = readlink;
  ops.mknod = mknod;
  ops.mkdir = mkdir;
  ops.unlink = unlink;
  ops.rmdir = rmdir;
  ops.symlink = symlink;
  ops.rename = rename;
  ops.link = link;
  ops.open = open;
  ops.create = create;
  ops.read = read;
  ops.write = write;
  ops.flush = flush;
  ops.release = release;
  ops.fsync = fsync;
  ops.opendir = opendir;
  ops.readdir = readdir;
  ops.releasedir = releasedir;
  ops.fsyncdir = fsyncdir;
  ops.statfs = statfs;
  ops.setxattr = setxattr;
  ops.getxattr = getxattr;
  ops.listxattr = listxattr;
  ops.removexattr = removexattr;
  ops.fallocate = fallocate;
  ops.copy_file_range = copy_file_range;
  ops.lseek = lseek;
  return ops;
}();

}  // namespace larder::slow_source
