#include "fuse/errno_map.h"

#include "source/breaker.h"

namespace larder::fuse {

int errno_of(Code code) {
  switch (code) {
    case Code::kCancelled:
      return EINTR;
    case Code::kLocked:
      return EBUSY;
    // The program's own table is not what is full.
    case Code::kNoDescriptors:
      return ENFILE;
    // A file system call is not expected to fail with ETIMEDOUT, EAGAIN or ENETDOWN: programs take
    // these for a socket's and retry for ever or give up in odd ways; ENOTCONN would say that this
    // mount is dead.  EIO is what a local disk says when it cannot deliver; the cause is in the log
    // and the statistics.
    case Code::kTimedOut:
    case Code::kSourceDown:
    case Code::kLimit:
    case Code::kCorrupt:
    case Code::kNewerFormat:
    case Code::kShort:
    case Code::kPoisoned:
      return EIO;
    default:
      break;
  }
  if (source::fault_of(code) == source::Fault::kTransport) return EIO;
  const int value = static_cast<int>(code);
  // The kernel would never send the operation again on ENOSYS, for any file.
  if (value == ENOSYS) return EOPNOTSUPP;
  // From 512 on are the kernel's internal codes; it refuses such a reply.
  return value > 0 && value < 512 ? value : EIO;
}

}  // namespace larder::fuse
