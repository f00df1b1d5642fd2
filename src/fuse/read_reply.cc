#include "fuse/read_reply.h"

#include <sys/uio.h>
#include <unistd.h>

#include <vector>

#include "base/limited_log.h"

namespace larder::fuse {
namespace {

// Where ranges of local files are read to.  A splice would save this copy, but takes two pipes'
// worth of system calls and page references for requests of at most 1 MiB.
std::byte* scratch(size_t size_bytes) {
  thread_local std::vector<std::byte> bytes;
  if (bytes.size() < size_bytes) bytes.resize(size_bytes);
  return bytes.data();
}

bool read_fully(int fd, std::byte* into, size_t length, uint64_t offset) {
  while (length > 0) {
    const ssize_t got = ::pread(fd, into, length, static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    into += got;
    length -= static_cast<size_t>(got);
    offset += static_cast<uint64_t>(got);
  }
  return true;
}

size_t file_bytes(const fs::ReadReply& reply) {
  size_t total = 0;
  for (const fs::ReadSlice& slice : reply.slices)
    if (!slice.buffer) total += slice.length;
  return total;
}

// False when a local file did not hold what it was said to hold.
bool gather(const fs::ReadReply& reply, std::vector<iovec>& iov) {
  iov.clear();
  const size_t from_files = file_bytes(reply);
  std::byte* next = from_files > 0 ? scratch(from_files) : nullptr;
  for (const fs::ReadSlice& slice : reply.slices) {
    if (slice.buffer) {
      iov.push_back({slice.buffer.bytes().data() + slice.buffer_offset, slice.length});
      continue;
    }
    if (!read_fully(slice.file_fd, next, slice.length, slice.file_offset)) return false;
    iov.push_back({next, slice.length});
    next += slice.length;
  }
  return true;
}

}  // namespace

void send_slices(Responder& responder, const fs::ReadReply& reply) {
  thread_local std::vector<iovec> iov;
  if (!gather(reply, iov)) {
    log::limited_error("a cached file is shorter than its blocks say, or cannot be read", 0, [] {
      return "a cached file is shorter than its blocks say, or cannot be read";
    });
    responder.status(EIO);
    return;
  }
  responder.send([](fuse_req_t request) {
    if (iov.empty()) return fuse_reply_buf(request, nullptr, 0);
    if (iov.size() == 1)
      return fuse_reply_buf(request, static_cast<const char*>(iov[0].iov_base), iov[0].iov_len);
    return fuse_reply_iov(request, iov.data(), static_cast<int>(iov.size()));
  });
}

}  // namespace larder::fuse
