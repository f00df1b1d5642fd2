// A descriptor that is shared by its owner and the calls under way on it; the last one hands it to
// the closer.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <utility>

#include "source/believable_read.h"
#include "source/closer.h"
#include "source/counted_fd.h"

namespace larder::source {

class SharedFd {
 public:
  SharedFd(CountedFd fd, std::shared_ptr<Closer> closer)
      : fd_(std::move(fd)), closer_(std::move(closer)) {}
  ~SharedFd() { closer_->close(std::move(fd_)); }
  SharedFd(const SharedFd&) = delete;
  SharedFd& operator=(const SharedFd&) = delete;
  int get() const { return fd_.fd.get(); }
  PageCacheTrust& trust() { return trust_; }

  std::atomic<uint64_t> last_end_bytes{0};  // where the file was last seen to end

 private:
  PageCacheTrust trust_;
  CountedFd fd_;
  std::shared_ptr<Closer> closer_;
};

}  // namespace larder::source
