// Owns one file descriptor and closes it where it is destroyed: for blocking code on worker
// threads. Descriptors that coroutines own go through Closer instead (source/closer.h).
#pragma once

#include <unistd.h>

#include <utility>

namespace larder::source {

class UniqueFd {
 public:
  UniqueFd() = default;
  explicit UniqueFd(int fd) : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(other.release()) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    if (this != &other) {
      reset();
      fd_ = other.release();
    }
    return *this;
  }
  ~UniqueFd() { reset(); }

  explicit operator bool() const { return fd_ >= 0; }
  int get() const { return fd_; }
  int release() { return std::exchange(fd_, -1); }

 private:
  void reset() {
    if (fd_ >= 0) ::close(release());
  }
  int fd_ = -1;
};

}  // namespace larder::source
