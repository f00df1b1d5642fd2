// Plain calls on files, for tests: what a program does and the errno it gets.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <string>
#include <string_view>

namespace larder::testing_support {

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd), error_(fd < 0 ? errno : 0) {}
  Descriptor(const std::string& path, int flags, mode_t mode = 0644)
      : Descriptor(open(path.c_str(), flags | O_CLOEXEC, mode)) {}
  ~Descriptor() { reset(); }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }
  int error() const { return error_; }  // of the open
  void reset() {
    if (fd_ >= 0) close(fd_);
    fd_ = -1;
  }

 private:
  int fd_;
  int error_;
};

struct FileContent {
  int error = 0;  // errno of the open or of the first read that failed
  std::string data;
  friend bool operator==(const FileContent&, const FileContent&) = default;
};

// Up to `length` bytes.
inline FileContent read_at(int fd, uint64_t offset, size_t length) {
  FileContent content;
  content.data.resize(length);
  size_t done = 0;
  while (done < length) {
    const ssize_t got =
        pread(fd, content.data.data() + done, length - done, static_cast<off_t>(offset + done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) content.error = errno;
    if (got <= 0) break;
    done += static_cast<size_t>(got);
  }
  content.data.resize(done);
  return content;
}

inline FileContent read_file(const std::string& path) {
  const Descriptor file(path, O_RDONLY);
  FileContent content;
  content.error = file.error();
  if (!file.valid()) return content;
  constexpr size_t kPart = 128 << 10;
  for (;;) {
    FileContent part = read_at(file.get(), content.data.size(), kPart);
    content.data += part.data;
    content.error = part.error;
    if (part.data.size() < kPart) return content;
  }
}

// Writes all of it to a new or emptied file; errno of the first call that failed.
inline int write_file(const std::string& path, std::string_view data) {
  Descriptor file(path, O_WRONLY | O_CREAT | O_TRUNC);
  if (!file.valid()) return file.error();
  while (!data.empty()) {
    const ssize_t written = write(file.get(), data.data(), data.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return errno;
    data.remove_prefix(static_cast<size_t>(written));
  }
  return fsync(file.get()) == 0 ? 0 : errno;
}

// Bytes that differ everywhere, and for each seed.
inline std::string pattern(size_t length, uint64_t seed = 1) {
  std::string data(length, '\0');
  uint64_t x = seed * 0x9E3779B97F4A7C15ULL + 1;
  for (size_t i = 0; i < length; ++i) {
    if (i % 8 == 0) {
      x ^= x << 13;
      x ^= x >> 7;
      x ^= x << 17;
    }
    data[i] = static_cast<char>(x >> (8 * (i % 8)));
  }
  return data;
}

inline int stat_error(const std::string& path) {
  struct stat status;
  return lstat(path.c_str(), &status) == 0 ? 0 : errno;
}

// Sends the question to the file system, whatever the kernel remembers.
inline int forced_stat(const std::string& path, struct statx* status) {
  return statx(AT_FDCWD, path.c_str(), AT_STATX_FORCE_SYNC | AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS,
               status) == 0
             ? 0
             : errno;
}

// Takes the file's clean pages out of the page cache.
inline void drop_pages(int fd) {
  fsync(fd);
  posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
}

}  // namespace larder::testing_support
