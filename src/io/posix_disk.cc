// Invariants: every path is resolved beneath the root's descriptor without following symbolic
// links, so nothing outside the cache directory is ever touched; every descriptor is close-on-exec.
#include "io/posix_disk.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <string_view>
#include <utility>

#include "base/check.h"

namespace larder::io {
namespace {

constexpr mode_t kFileMode = 0600;
constexpr mode_t kDirectoryMode = 0700;

// Owns a file descriptor.
class Descriptor {
 public:
  explicit Descriptor(int fd = -1) : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  int get() const { return fd_; }
  int release() { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

// Calls again what a signal interrupted.
template <class Call>
auto uninterrupted(Call call) {
  while (true) {
    const auto result = call();
    if (result >= 0 || errno != EINTR) return result;
  }
}

Result<void> checked(int status, std::string_view what, const std::string& path) {
  if (status < 0) return fail_errno(std::string(what) + " " + path);
  return {};
}

int open_beneath(int root_fd, const char* path, int flags, mode_t mode) {
  open_how how{};
  how.flags = static_cast<uint64_t>(flags | O_CLOEXEC);
  how.mode = (flags & O_CREAT) != 0 ? mode : 0;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
  const int fd = uninterrupted(
      [&] { return static_cast<int>(::syscall(SYS_openat2, root_fd, path, &how, sizeof how)); });
  if (fd >= 0 || errno != ENOSYS) return fd;
  // Linux before 5.6: Disk has refused "..", so only a planted symbolic link could lead out.
  return uninterrupted(
      [&] { return ::openat(root_fd, path, flags | O_CLOEXEC | O_NOFOLLOW, mode); });
}

FileInfo info_of(const struct stat& st) {
  return {.size_bytes = static_cast<uint64_t>(st.st_size),
          .allocated_bytes = static_cast<uint64_t>(st.st_blocks) * 512,  // stat(2): always 512
          .mtime_ns = int64_t{st.st_mtim.tv_sec} * 1'000'000'000 + st.st_mtim.tv_nsec};
}

// As a reader that leaves no trace: not even the time of the access, where the kernel allows that
// (the owner and root may ask for it).  A FIFO in a file's place is not waited for.
int open_without_trace(int root_fd, const char* path, int flags) {
  flags |= O_NONBLOCK;
  const int fd = open_beneath(root_fd, path, flags | O_NOATIME, 0);
  return fd >= 0 || errno != EPERM ? fd : open_beneath(root_fd, path, flags, 0);
}

class PosixMapping final : public Mapping {
 public:
  explicit PosixMapping(std::span<std::byte> bytes) : Mapping(bytes) {}
  ~PosixMapping() override { CHECK(::munmap(bytes_.data(), bytes_.size()) == 0); }
};

class PosixFile final : public File {
 public:
  PosixFile(Descriptor descriptor, std::string path, bool writable)
      : File(descriptor.get()),
        descriptor_(std::move(descriptor)),
        path_(std::move(path)),
        writable_(writable) {}

 private:
  Result<size_t> do_read(std::span<std::byte> into, uint64_t offset) override {
    const ssize_t n = uninterrupted(
        [&] { return ::pread(fd(), into.data(), into.size(), static_cast<off_t>(offset)); });
    if (n < 0) return fail_errno("read " + path_);
    return static_cast<size_t>(n);
  }

  bool do_read_cached(std::span<std::byte> into, uint64_t offset) override {
    iovec range{into.data(), into.size()};
    return ::preadv2(fd(), &range, 1, static_cast<off_t>(offset), RWF_NOWAIT) ==
           static_cast<ssize_t>(into.size());
  }

  // Pages that are being used or written stay.
  void do_drop_cached(uint64_t offset, uint64_t length) override {
    ::posix_fadvise(fd(), static_cast<off_t>(offset), static_cast<off_t>(length),
                    POSIX_FADV_DONTNEED);
  }

  Result<size_t> do_write(std::span<const std::byte> from, uint64_t offset) override {
    const ssize_t n = uninterrupted(
        [&] { return ::pwrite(fd(), from.data(), from.size(), static_cast<off_t>(offset)); });
    if (n < 0) return fail_errno("write " + path_);
    return static_cast<size_t>(n);
  }

  // Never called again after a failure: the kernel reports a lost write once only.
  Result<void> do_sync_data() override { return checked(::fdatasync(fd()), "sync", path_); }

  Result<void> do_truncate(uint64_t size_bytes) override {
    const int status =
        uninterrupted([&] { return ::ftruncate(fd(), static_cast<off_t>(size_bytes)); });
    return checked(status, "truncate", path_);
  }

  Result<void> do_allocate(uint64_t offset, uint64_t length) override {
    return checked(fallocate_range(0, offset, length), "allocate", path_);
  }

  Result<void> do_punch(uint64_t offset, uint64_t length) override {
    const int mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
    return checked(fallocate_range(mode, offset, length), "punch", path_);
  }

  Result<FileInfo> do_info() override {
    struct stat st{};
    TRY(checked(::fstat(fd(), &st), "stat", path_));
    return info_of(st);
  }

  Result<std::optional<uint64_t>> do_next_data(uint64_t offset) override {
    const off_t found = ::lseek(fd(), static_cast<off_t>(offset), SEEK_DATA);
    if (found >= 0) return static_cast<uint64_t>(found);
    if (errno == ENXIO) return std::nullopt;
    if (errno == EINVAL || errno == EOPNOTSUPP) return File::do_next_data(offset);
    return fail_errno("find data in " + path_);
  }

  Result<std::unique_ptr<Mapping>> do_map(uint64_t offset, size_t length) override {
    const int protection = writable_ ? PROT_READ | PROT_WRITE : PROT_READ;
    void* const address =
        ::mmap(nullptr, length, protection, MAP_SHARED, fd(), static_cast<off_t>(offset));
    if (address == MAP_FAILED) return fail_errno("map " + path_);
    return std::make_unique<PosixMapping>(std::span(static_cast<std::byte*>(address), length));
  }

  // A write lease is given to who alone has the file open; a mapping counts as open.  Who opens it
  // in the moment before the lease is returned waits that long, and has a signal sent: one that
  // does nothing.
  Result<bool> do_is_used_elsewhere() override {
    if (::fcntl(fd(), F_SETSIG, SIGURG) != 0) return fail_errno("lease " + path_);
    if (::fcntl(fd(), F_SETLEASE, F_WRLCK) != 0) {
      if (errno == EAGAIN) return true;
      return fail(Code::kNotSupported, "lease " + path_);
    }
    // Where two threads ask at once the second finds the lease returned already.
    if (::fcntl(fd(), F_SETLEASE, F_UNLCK) != 0 && errno != EAGAIN)
      return fail_errno("return the lease of " + path_);
    return false;
  }

  int fallocate_range(int mode, uint64_t offset, uint64_t length) {
    return uninterrupted([&] {
      return ::fallocate(fd(), mode, static_cast<off_t>(offset), static_cast<off_t>(length));
    });
  }

  Descriptor descriptor_;
  std::string path_;  // for messages
  bool writable_;
};

class PosixDisk final : public Disk {
 public:
  PosixDisk(Descriptor root, Descriptor lock, bool writable = true)
      : root_(std::move(root)), lock_(std::move(lock)), writable_(writable) {}

 private:
  Result<void> check_writable(const std::string& path) const {
    if (!writable_) return fail(static_cast<Code>(EROFS), "change " + path);
    return {};
  }

  // A directory entry: the open parent and the name in it.
  struct Entry {
    Descriptor parent;
    int parent_fd;
    std::string name;
  };

  Result<Entry> entry(const std::string& path) const {
    const size_t slash = path.rfind('/');
    if (slash == std::string::npos) return Entry{Descriptor(), root_.get(), path};
    const std::string directory = path.substr(0, slash);
    Descriptor parent(open_beneath(root_.get(), directory.c_str(), O_PATH | O_DIRECTORY, 0));
    if (parent.get() < 0) return fail_errno("open " + directory);
    const int parent_fd = parent.get();
    return Entry{std::move(parent), parent_fd, path.substr(slash + 1)};
  }

  Result<Descriptor> open_directory(const std::string& directory) const {
    const char* const path = directory.empty() ? "." : directory.c_str();
    const int flags = O_RDONLY | O_DIRECTORY;
    Descriptor opened(writable_ ? open_beneath(root_.get(), path, flags, 0)
                                : open_without_trace(root_.get(), path, flags));
    if (opened.get() < 0) return fail_errno("open directory " + directory);
    return opened;
  }

  Result<std::unique_ptr<File>> do_open(const std::string& path, OpenMode mode) override {
    int flags = 0;
    switch (mode) {
      case OpenMode::kReadOnly:
        flags = O_RDONLY;
        break;
      case OpenMode::kReadWrite:
        flags = O_RDWR;
        break;
      case OpenMode::kCreate:
        flags = O_RDWR | O_CREAT;
        break;
      case OpenMode::kCreateNew:
        flags = O_RDWR | O_CREAT | O_EXCL;
        break;
    }
    if (flags != O_RDONLY) TRY(check_writable(path));
    Descriptor opened(writable_ ? open_beneath(root_.get(), path.c_str(), flags, kFileMode)
                                : open_without_trace(root_.get(), path.c_str(), flags));
    if (opened.get() < 0) return fail_errno("open " + path);
    return std::make_unique<PosixFile>(std::move(opened), path, mode != OpenMode::kReadOnly);
  }

  Result<void> do_rename(const std::string& from, const std::string& to) override {
    TRY(check_writable(from));
    TRY_ASSIGN(const Entry source, entry(from));
    TRY_ASSIGN(const Entry target, entry(to));
    return checked(
        ::renameat(source.parent_fd, source.name.c_str(), target.parent_fd, target.name.c_str()),
        "rename to " + to + " of", from);
  }

  Result<void> do_exchange(const std::string& one, const std::string& other) override {
    TRY(check_writable(one));
    TRY_ASSIGN(const Entry first, entry(one));
    TRY_ASSIGN(const Entry second, entry(other));
    const int status = ::renameat2(first.parent_fd, first.name.c_str(), second.parent_fd,
                                   second.name.c_str(), RENAME_EXCHANGE);
    const bool is_unknown = status < 0 && errno == EINVAL;  // so says a file system that cannot
    if (is_unknown) return fail(Code::kNotSupported, "exchange " + one + " with " + other);
    return checked(status, "exchange " + one + " with", other);
  }

  Result<void> do_remove(const std::string& path) override {
    TRY(check_writable(path));
    TRY_ASSIGN(const Entry victim, entry(path));
    int status = ::unlinkat(victim.parent_fd, victim.name.c_str(), 0);
    if (status < 0 && errno == EISDIR)
      status = ::unlinkat(victim.parent_fd, victim.name.c_str(), AT_REMOVEDIR);
    return checked(status, "remove", path);
  }

  Result<void> do_make_directory(const std::string& path) override {
    TRY(check_writable(path));
    TRY_ASSIGN(const Entry made, entry(path));
    if (::mkdirat(made.parent_fd, made.name.c_str(), kDirectoryMode) == 0) return {};
    if (errno != EEXIST) return fail_errno("make directory " + path);
    // Something is there; only a directory will do.
    struct stat st{};
    TRY(checked(::fstatat(made.parent_fd, made.name.c_str(), &st, AT_SYMLINK_NOFOLLOW),
                "make directory", path));
    if (!S_ISDIR(st.st_mode)) return fail(Code::kExists, "make directory " + path);
    return {};
  }

  Result<FileInfo> do_path_info(const std::string& path) override {
    struct stat st{};
    if (path.empty()) {
      TRY(checked(::fstat(root_.get(), &st), "stat", path));
      return info_of(st);
    }
    TRY_ASSIGN(const Entry looked_at, entry(path));
    TRY(checked(::fstatat(looked_at.parent_fd, looked_at.name.c_str(), &st, AT_SYMLINK_NOFOLLOW),
                "stat", path));
    return info_of(st);
  }

  Result<std::vector<std::string>> do_list(const std::string& directory) override {
    TRY_ASSIGN(Descriptor opened, open_directory(directory));
    const std::unique_ptr<DIR, int (*)(DIR*)> stream(::fdopendir(opened.get()), &::closedir);
    if (stream == nullptr) return fail_errno("list " + directory);
    opened.release();  // the stream closes it
    std::vector<std::string> names;
    while (true) {
      errno = 0;
      const dirent* const found = ::readdir(stream.get());
      if (found == nullptr) break;
      const std::string_view name = found->d_name;
      if (name != "." && name != "..") names.emplace_back(name);
    }
    if (errno != 0) return fail_errno("list " + directory);
    return names;
  }

  Result<void> do_sync_directory(const std::string& directory) override {
    TRY_ASSIGN(const Descriptor opened, open_directory(directory));
    return checked(::fsync(opened.get()), "sync directory", directory);
  }

  Result<void> do_sync_all() override {
    return checked(::syncfs(root_.get()), "sync file system", "");
  }

  Result<SpaceInfo> do_space() override {
    struct statvfs st{};
    const int status = uninterrupted([&] { return ::fstatvfs(root_.get(), &st); });
    TRY(checked(status, "statvfs", ""));
    const uint64_t unit_bytes = st.f_frsize != 0 ? st.f_frsize : st.f_bsize;
    SpaceInfo space{.total_bytes = st.f_blocks * unit_bytes,
                    .free_bytes = st.f_bavail * unit_bytes};
    if (st.f_files != 0) {
      space.total_inodes = st.f_files;
      space.free_inodes = st.f_favail;
    }
    return space;
  }

  Descriptor root_;
  Descriptor lock_;  // -1 when not locked; closing it releases the flock
  const bool writable_;
};

Result<Descriptor> open_root(const std::string& root) {
  Descriptor opened(
      uninterrupted([&] { return ::open(root.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC); }));
  if (opened.get() < 0) return fail_errno("open directory " + root);
  return opened;
}

}  // namespace

Result<std::unique_ptr<Disk>> open_posix_disk(const std::string& root) {
  TRY_ASSIGN(Descriptor opened, open_root(root));
  return std::make_unique<PosixDisk>(std::move(opened), Descriptor());
}

namespace {

Result<void> take_lock(const Descriptor& lock, int kind, const std::string& path) {
  if (lock.get() < 0) return fail_errno("open lock " + path);
  if (::flock(lock.get(), kind | LOCK_NB) == 0) return {};
  if (errno == EWOULDBLOCK) return fail(Code::kLocked, "lock " + path);
  return fail_errno("lock " + path);
}

}  // namespace

Result<std::unique_ptr<Disk>> open_posix_disk_read_only(const std::string& root,
                                                        const std::string& lock_name) {
  TRY_ASSIGN(Descriptor opened, open_root(root));
  Descriptor lock;
  if (!lock_name.empty()) {
    const int fd = open_without_trace(opened.get(), lock_name.c_str(), O_RDONLY);
    const bool is_there = fd >= 0 || errno != ENOENT;
    lock = Descriptor(fd);
    if (is_there) TRY(take_lock(lock, LOCK_SH, root + "/" + lock_name));
  }
  return std::make_unique<PosixDisk>(std::move(opened), std::move(lock), false);
}

Result<std::unique_ptr<Disk>> open_posix_disk_locked(const std::string& root,
                                                     const std::string& lock_name) {
  TRY_ASSIGN(Descriptor opened, open_root(root));
  Descriptor lock(open_beneath(opened.get(), lock_name.c_str(), O_RDWR | O_CREAT, kFileMode));
  TRY(take_lock(lock, LOCK_EX, root + "/" + lock_name));
  return std::make_unique<PosixDisk>(std::move(opened), std::move(lock));
}

}  // namespace larder::io
