#include "fuse/passthrough.h"

#include <linux/fuse.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

#include <array>
#include <cmath>
#include <cstring>

#include "base/check.h"
#include "base/limited_log.h"
#include "fuse/set_id.h"

namespace larder::fuse {
namespace {

// As in the kernel's uapi/linux/fuse.h, 7.40; the installed header may be older.
struct BackingMap {
  int32_t fd;
  uint32_t flags;
  uint64_t padding;
};
static_assert(sizeof(BackingMap) == 16);
constexpr unsigned long kBackingOpen = _IOW(229, 1, BackingMap);
constexpr unsigned long kBackingClose = _IOW(229, 2, uint32_t);

}  // namespace

Result<int32_t> Passthrough::open_backing(int fd) {
  if (!available()) return fail(Code::kNotSupported, "passthrough");
  BackingMap map{.fd = fd, .flags = 0, .padding = 0};
  const int id = ioctl(device_fd_, kBackingOpen, &map);
  if (id > 0) return id;
  if (errno == EPERM || errno == ELOOP || errno == EOPNOTSUPP) {
    const int reason = errno;
    if (!refused_.exchange(true))
      log::warning("no passthrough on this mount: {}", std::strerror(reason));
    errno = reason;
  }
  return fail_errno("open for passthrough");
}

void Passthrough::close_backing(int32_t backing_id) {
  auto id = static_cast<uint32_t>(backing_id);
  if (ioctl(device_fd_, kBackingClose, &id) != 0)
    log::limited_warning("a passthrough id cannot be given back", 0, [&, reason = errno] {
      return fmt::format("passthrough id {} cannot be given back: {}", backing_id,
                         std::strerror(reason));
    });
}

#if LARDER_LIBFUSE_HAS_PASSTHROUGH

Result<void> Passthrough::attach(fuse_session* session) {
  device_fd_ = fuse_session_fd(session);
  return {};
}

void Passthrough::negotiate(fuse_conn_info& connection) {
  if (takes_set_id()) connection.want |= connection.capable & FUSE_CAP_HANDLE_KILLPRIV_V2;
  if (!wanted_ || (connection.capable & FUSE_CAP_PASSTHROUGH) == 0) return;
  connection.want |= FUSE_CAP_PASSTHROUGH;
  connection.max_backing_stack_depth = 1;
  active_.store(true);
}

int Passthrough::reply_open(fuse_req_t request, const fuse_file_info& info, const OpenMode& mode) {
  fuse_file_info reply = info;
  reply.fh = mode.handle;
  reply.backing_id = mode.backing_id;
  reply.keep_cache = mode.keep_cache;
  reply.direct_io = mode.direct_io;
  return fuse_reply_open(request, &reply);
}

int Passthrough::reply_create(fuse_req_t request, const fuse_entry_param& entry,
                              const fuse_file_info& info, const OpenMode& mode) {
  fuse_file_info reply = info;
  reply.fh = mode.handle;
  reply.backing_id = mode.backing_id;
  reply.keep_cache = mode.keep_cache;
  reply.direct_io = mode.direct_io;
  return fuse_reply_create(request, &entry, &reply);
}

#else

// The INIT exchange, seen from below libfuse.  Everything else goes through untouched.
struct InitExchange {
  static constexpr uint32_t kPassthroughFlag2 = 1U << (37 - 32);
  static constexpr uint32_t kInitExt = 1U << 30;

  static ssize_t read(int fd, void* buffer, size_t length, void* userdata) {
    const ssize_t got = ::read(fd, buffer, length);
    if (got >= static_cast<ssize_t>(sizeof(fuse_in_header) + sizeof(fuse_init_in)))
      look_at_request(passthrough_of(userdata), static_cast<const std::byte*>(buffer));
    return got;
  }

  static ssize_t writev(int fd, iovec* iov, int count, void* userdata) {
    Passthrough& passthrough = passthrough_of(userdata);
    if (passthrough.init_unique_.load(std::memory_order_relaxed) != 0 && count == 2)
      complete_reply(passthrough, iov);
    return ::writev(fd, iov, count);
  }

 private:
  static void look_at_request(Passthrough& passthrough, const std::byte* bytes) {
    fuse_in_header header;
    std::memcpy(&header, bytes, sizeof header);
    if (header.opcode != FUSE_INIT) return;
    fuse_init_in init;
    std::memcpy(&init, bytes + sizeof header, sizeof init);
    const bool offered = (init.flags & kInitExt) != 0 && (init.flags2 & kPassthroughFlag2) != 0;
    passthrough.offered_.store(offered);
    passthrough.parallel_directories_.store((init.flags & FUSE_PARALLEL_DIROPS) != 0);
    passthrough.leaves_set_id_.store((init.flags & FUSE_HANDLE_KILLPRIV_V2) != 0 && takes_set_id());
    passthrough.init_unique_.store(header.unique);
  }

  static void complete_reply(Passthrough& passthrough, iovec* iov) {
    fuse_out_header header;
    std::memcpy(&header, iov[0].iov_base, sizeof header);
    if (header.unique != passthrough.init_unique_.load() || header.error != 0 ||
        iov[1].iov_len < sizeof(fuse_init_out))
      return;
    passthrough.init_unique_.store(0);
    auto* bytes = static_cast<std::byte*>(iov[1].iov_base);
    fuse_init_out init;
    std::memcpy(&init, bytes, sizeof init);
    // Asked for through libfuse, which (3.14) forgets to pass it on: without it one look-up that
    // hangs holds up every other in its directory.
    if (passthrough.parallel_directories_.load()) init.flags |= FUSE_PARALLEL_DIROPS;
    // Not known to libfuse before 3.17; see fuse/set_id.h.
    if (passthrough.leaves_set_id_.load()) init.flags |= FUSE_HANDLE_KILLPRIV_V2;
    if (passthrough.active_.load()) {
      init.flags |= kInitExt;
      init.flags2 |= kPassthroughFlag2;
    }
    std::memcpy(bytes, &init, sizeof init);
    if (!passthrough.active_.load()) return;
    // max_stack_depth, the word after flags2.
    constexpr uint32_t kStackDepth = 1;
    std::memcpy(bytes + offsetof(fuse_init_out, flags2) + sizeof init.flags2, &kStackDepth,
                sizeof kStackDepth);
  }
};

namespace {

constexpr uint32_t kFopenPassthrough = 1U << 7;

// libfuse before 3.17 cannot express a backing id.
fuse_open_out open_out(const OpenMode& mode) {
  fuse_open_out out{};
  out.fh = mode.handle;
  out.open_flags = kFopenPassthrough | (mode.direct_io ? FOPEN_DIRECT_IO : 0U);
  // What later headers call backing_id, in the place of padding.
  static_assert(sizeof out == 16);
  std::memcpy(reinterpret_cast<std::byte*>(&out) + 12, &mode.backing_id, sizeof mode.backing_id);
  return out;
}

fuse_file_info plain_info(const fuse_file_info& info, const OpenMode& mode) {
  fuse_file_info reply = info;
  reply.fh = mode.handle;
  reply.keep_cache = mode.keep_cache;
  reply.direct_io = mode.direct_io;
  return reply;
}

struct WireTime {
  uint64_t seconds;
  uint32_t nanoseconds;
};
WireTime wire_time(double seconds) {
  if (seconds <= 0) return {0, 0};
  const double whole = std::floor(seconds);
  return {static_cast<uint64_t>(whole), static_cast<uint32_t>((seconds - whole) * 1e9)};
}

fuse_entry_out entry_out(const fuse_entry_param& entry) {
  const struct stat& stat = entry.attr;
  fuse_entry_out out{};
  out.nodeid = entry.ino;
  out.generation = entry.generation;
  const WireTime entry_time = wire_time(entry.entry_timeout);
  out.entry_valid = entry_time.seconds;
  out.entry_valid_nsec = entry_time.nanoseconds;
  const WireTime attr_time = wire_time(entry.attr_timeout);
  out.attr_valid = attr_time.seconds;
  out.attr_valid_nsec = attr_time.nanoseconds;
  out.attr.ino = stat.st_ino;
  out.attr.size = static_cast<uint64_t>(stat.st_size);
  out.attr.blocks = static_cast<uint64_t>(stat.st_blocks);
  out.attr.atime = static_cast<uint64_t>(stat.st_atim.tv_sec);
  out.attr.mtime = static_cast<uint64_t>(stat.st_mtim.tv_sec);
  out.attr.ctime = static_cast<uint64_t>(stat.st_ctim.tv_sec);
  out.attr.atimensec = static_cast<uint32_t>(stat.st_atim.tv_nsec);
  out.attr.mtimensec = static_cast<uint32_t>(stat.st_mtim.tv_nsec);
  out.attr.ctimensec = static_cast<uint32_t>(stat.st_ctim.tv_nsec);
  out.attr.mode = stat.st_mode;
  out.attr.nlink = static_cast<uint32_t>(stat.st_nlink);
  out.attr.uid = stat.st_uid;
  out.attr.gid = stat.st_gid;
  out.attr.rdev = static_cast<uint32_t>(stat.st_rdev);
  out.attr.blksize = static_cast<uint32_t>(stat.st_blksize);
  return out;
}

}  // namespace

Result<void> Passthrough::attach(fuse_session* session) {
  device_fd_ = fuse_session_fd(session);
  fuse_custom_io io{};
  io.read = &InitExchange::read;
  io.writev = &InitExchange::writev;
  if (const int error = fuse_session_custom_io(session, &io, device_fd_); error != 0) {
    errno = -error;
    return fail_errno("set up the connection");
  }
  return {};
}

void Passthrough::negotiate(fuse_conn_info&) {
  active_.store(wanted_ && offered_.load());
}

int Passthrough::reply_open(fuse_req_t request, const fuse_file_info& info, const OpenMode& mode) {
  if (mode.backing_id == 0) {
    const fuse_file_info reply = plain_info(info, mode);
    return fuse_reply_open(request, &reply);
  }
  const fuse_open_out out = open_out(mode);
  return fuse_reply_buf(request, reinterpret_cast<const char*>(&out), sizeof out);
}

int Passthrough::reply_create(fuse_req_t request, const fuse_entry_param& entry,
                              const fuse_file_info& info, const OpenMode& mode) {
  if (mode.backing_id == 0) {
    const fuse_file_info reply = plain_info(info, mode);
    return fuse_reply_create(request, &entry, &reply);
  }
  const struct {
    fuse_entry_out entry;
    fuse_open_out open;
  } out{entry_out(entry), open_out(mode)};
  return fuse_reply_buf(request, reinterpret_cast<const char*>(&out), sizeof out);
}

#endif

}  // namespace larder::fuse
