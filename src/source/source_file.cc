#include "source/source_file.h"

#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <span>

#include "base/log.h"
#include "source/believable_read.h"
#include "source/end_by_reading.h"
#include "source/operations.h"

namespace larder::source {
namespace {

// What the source's file system has taken and could not keep may be in its page cache still, where
// it would be read back.
std::unexpected<Error> fail_perhaps_late(int fd, const char* call) {
  std::unexpected<Error> failed = fail_errno(call);
  ::posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
  return failed;
}

Result<void> write_fully(int fd, std::span<const std::byte> from, uint64_t offset, int flags = 0) {
  while (!from.empty()) {
    const iovec piece{const_cast<std::byte*>(from.data()), from.size()};
    const ssize_t n = ::pwritev2(fd, &piece, 1, static_cast<off_t>(offset), flags);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail_perhaps_late(fd, "write");
    if (n == 0) return fail(Code::kIo, "write wrote nothing");
    from = from.subspan(static_cast<size_t>(n));
    offset += static_cast<uint64_t>(n);
  }
  return {};
}

// Where the file ends and where the kernel cuts off what it reads, while its file system describes
// what its name leads to, are two things.
Result<size_t> read_to_its_own_end(SharedFd& fd, std::span<std::byte> into, uint64_t offset) {
  size_t done = 0;
  while (true) {
    TRY_ASSIGN(const size_t got, read_directly(fd.get(), into.subspan(done), offset + done));
    done += got;
    const uint64_t at = offset + done;
    if (done == into.size() || at >= fd.last_end_bytes) return done;
    TRY_ASSIGN(fd.last_end_bytes, end_by_reading(fd.get(), {fd.last_end_bytes, at}));
    if (at >= fd.last_end_bytes) return done;
  }
}

// Of the file itself, also where its file system describes what its name leads to.
Result<Attributes> with_own_size(SharedFd& fd, Attributes described) {
  if (!fd.trust().is_bypassed()) return described;
  const Result<uint64_t> end = end_by_reading(fd.get(), {fd.last_end_bytes, described.size_bytes});
  if (!end && end.error().is(static_cast<Code>(EBADF))) return described;  // opened to be written
  if (!end) return fail(end.error());
  described.size_bytes = *end;
  fd.last_end_bytes = *end;
  return described;
}

}  // namespace

Outcome<size_t> OpenFile::read(buffer::BufferRef into, size_t length, uint64_t offset) {
  CHECK(length <= into.bytes().size());
  // The worker shares both: neither the file nor the caller need be there when it comes back.
  auto work = [fd = fd_, into, length, offset] {
    const std::span<std::byte> bytes = into.bytes().first(length);
    return fd->trust().is_bypassed() ? read_to_its_own_end(*fd, bytes, offset)
                                     : read_believably(fd->get(), bytes, offset, fd->trust());
  };
  auto call = Dispatcher::call<size_t>(dispatcher_, CallKind::kRead, std::move(work));
  Result<size_t> done = co_await std::move(call);
  if (done) into.set_size(*done);
  co_return done;
}

Outcome<void> OpenFile::write(buffer::BufferRef from, uint64_t offset) {
  return Dispatcher::call<void>(dispatcher_, CallKind::kWrite, [fd = fd_, from, offset] {
    return write_fully(fd->get(), from.data(), offset);
  });
}

Outcome<void> OpenFile::append(buffer::BufferRef from) {
  return Dispatcher::call<void>(dispatcher_, CallKind::kWrite, [fd = fd_, from] {
    return write_fully(fd->get(), from.data(), 0, RWF_APPEND);
  });
}

Outcome<void> OpenFile::flush() {
  return Dispatcher::call<void>(dispatcher_, CallKind::kFlush, [fd = fd_]() -> Result<void> {
    // Closing any descriptor of the file makes the file system report.
    const int copy = ::fcntl(fd->get(), F_DUPFD_CLOEXEC, 0);
    if (copy < 0) return fail_errno("flush");
    if (::close(copy) != 0) return fail_perhaps_late(fd->get(), "flush");
    return {};
  });
}

Outcome<void> OpenFile::sync(bool data_only) {
  return Dispatcher::call<void>(
      dispatcher_, CallKind::kSync, [fd = fd_, data_only]() -> Result<void> {
        if ((data_only ? ::fdatasync(fd->get()) : ::fsync(fd->get())) != 0)
          return fail_perhaps_late(fd->get(), "sync");
        return {};
      });
}

Outcome<Attributes> OpenFile::attributes() {
  return Dispatcher::call<Attributes>(
      dispatcher_, CallKind::kAttributes, [root = root_, fd = fd_]() -> Result<Attributes> {
        TRY_ASSIGN(const Attributes described, operations::attributes(*root, fd->get()));
        return with_own_size(*fd, described);
      });
}

Outcome<Attributes> OpenFile::set_attributes(AttributeChange change) {
  return Dispatcher::call<Attributes>(
      dispatcher_, CallKind::kSetAttributes,
      [root = root_, fd = fd_, change]() -> Result<Attributes> {
        TRY_ASSIGN(const Attributes set, operations::set_attributes(*root, fd->get(), change));
        return with_own_size(*fd, set);
      });
}

Outcome<void> OpenFile::allocate(int mode, uint64_t offset, uint64_t length) {
  return Dispatcher::call<void>(
      dispatcher_, CallKind::kAllocate, [fd = fd_, mode, offset, length]() -> Result<void> {
        if (::fallocate(fd->get(), mode, static_cast<off_t>(offset), static_cast<off_t>(length)) !=
            0)
          return fail_errno("fallocate");
        return {};
      });
}

Outcome<uint64_t> OpenFile::seek(uint64_t offset, int whence) {
  return Dispatcher::call<uint64_t>(
      dispatcher_, CallKind::kSeek, [fd = fd_, offset, whence]() -> Result<uint64_t> {
        if (whence != SEEK_DATA && whence != SEEK_HOLE) return fail(Code::kInvalid);
        const off_t found = ::lseek(fd->get(), static_cast<off_t>(offset), whence);
        if (found < 0) return fail_errno("seek");
        return static_cast<uint64_t>(found);
      });
}

Outcome<size_t> OpenFile::copy_range(uint64_t offset, std::shared_ptr<SourceFile> to,
                                     uint64_t to_offset, size_t length) {
  const auto* target = dynamic_cast<const OpenFile*>(to.get());
  CHECK(target != nullptr);  // there is one kind of source under one mount
  return Dispatcher::call<size_t>(
      dispatcher_, CallKind::kCopyRange,
      [fd = fd_, to_fd = target->fd_, offset, to_offset, length]() -> Result<size_t> {
        auto from_at = static_cast<off_t>(offset);
        auto to_at = static_cast<off_t>(to_offset);
        const ssize_t n = ::copy_file_range(fd->get(), &from_at, to_fd->get(), &to_at,
                                            std::min(length, kCopyMax), 0);
        if (n < 0) return fail_errno("copy_file_range");
        return static_cast<size_t>(n);
      });
}

void OpenFile::bypass_page_cache() {
  if (!root_->is_fuse()) return;  // others keep pages by file, and may want aligned buffers
  const int flags = ::fcntl(fd_->get(), F_GETFL);
  if (flags < 0 || ::fcntl(fd_->get(), F_SETFL, flags | O_DIRECT) != 0)
    log::debug("no direct I/O on the source: {}", Error::from_errno().message());
  else
    fd_->trust().bypass();
}

Outcome<Opened> OpenFile::reopen(int flags) {
  return open_by(dispatcher_, root_, CallKind::kOpen, flags, [root = root_, fd = fd_, flags] {
    return operations::reopen(*root, fd->get(), flags);
  });
}

Outcome<std::string> OpenFile::get_xattr(std::string name) {
  return Dispatcher::call<std::string>(
      dispatcher_, CallKind::kGetXattr,
      [fd = fd_, name = std::move(name)] { return operations::get_xattr(fd->get(), name); });
}

Outcome<void> OpenFile::set_xattr(std::string name, std::string value, int flags,
                                  std::optional<Credentials> as) {
  return Dispatcher::call<void>(
      dispatcher_, CallKind::kSetXattr,
      [fd = fd_, name = std::move(name), value = std::move(value), flags, as = std::move(as)] {
        return operations::set_xattr(fd->get(), name, value, flags, as);
      });
}

Outcome<std::vector<std::string>> OpenFile::list_xattr() {
  return Dispatcher::call<std::vector<std::string>>(
      dispatcher_, CallKind::kListXattr, [fd = fd_] { return operations::list_xattr(fd->get()); });
}

Outcome<void> OpenFile::remove_xattr(std::string name) {
  return Dispatcher::call<void>(
      dispatcher_, CallKind::kRemoveXattr,
      [fd = fd_, name = std::move(name)] { return operations::remove_xattr(fd->get(), name); });
}

}  // namespace larder::source
