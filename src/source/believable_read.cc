#include "source/believable_read.h"

#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/magic.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <thread>
#include <vector>

#include "source/proc_path.h"
#include "source/unique_fd.h"

namespace larder::source {
namespace {

constexpr uint64_t kPageBytes = 4096;
// Servers fail by whole sectors.
constexpr size_t kSectorBytes = 512;
// A write under way through another descriptor (sshfs answers before its server has the bytes) is
// over after the first pauses; all of them are about a second.
constexpr int kTriesMax = 8;
constexpr auto kPauseMin = std::chrono::milliseconds(4);

Result<size_t> read_fully(int fd, std::span<std::byte> into, uint64_t offset) {
  size_t done = 0;
  while (done < into.size()) {
    const ssize_t n =
        ::pread(fd, into.data() + done, into.size() - done, static_cast<off_t>(offset + done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail_errno("read");
    if (n == 0) break;
    done += static_cast<size_t>(n);
  }
  return done;
}

// Reads of which nothing comes from the page cache.  A direct read that is waited for by pread(2)
// the kernel completes from there when it came back short; one submitted to a queue it does not.
class DirectReader {
 public:
  DirectReader() { is_open_ = ::syscall(SYS_io_setup, 1, &queue_) == 0; }
  ~DirectReader() {
    if (is_open_) ::syscall(SYS_io_destroy, queue_);
  }
  DirectReader(const DirectReader&) = delete;
  DirectReader& operator=(const DirectReader&) = delete;

  Result<size_t> read(int fd, std::span<std::byte> into, uint64_t offset) {
    if (!is_open_) return read_fully(fd, into, offset);  // the best there is
    iocb request{};
    request.aio_lio_opcode = IOCB_CMD_PREAD;
    request.aio_fildes = static_cast<uint32_t>(fd);
    request.aio_buf = reinterpret_cast<uint64_t>(into.data());
    request.aio_nbytes = into.size();
    request.aio_offset = static_cast<int64_t>(offset);
    iocb* requests = &request;
    if (::syscall(SYS_io_submit, queue_, 1, &requests) != 1) return fail_errno("read");
    io_event event{};
    // Until it is answered the kernel writes to `into`.
    while (::syscall(SYS_io_getevents, queue_, 1, 1, &event, nullptr) != 1)
      if (errno != EINTR) return fail_errno("read");
    if (event.res >= 0) return static_cast<size_t>(event.res);
    errno = static_cast<int>(-event.res);
    return fail_errno("read");
  }

 private:
  aio_context_t queue_ = 0;
  bool is_open_ = false;
};

Result<size_t> read_past_page_cache(int fd, std::span<std::byte> into, uint64_t offset) {
  // O_DIRECT comes after the opening: the server need not hear of it.  What cannot be opened again
  // (a removed file) is read through the descriptor there is.
  UniqueFd fresh(::open(ProcPath(fd).c_str(), O_RDONLY | O_CLOEXEC));
  if (!fresh) fresh = UniqueFd(::fcntl(fd, F_DUPFD_CLOEXEC, 0));
  if (!fresh) return fail_errno("open again");
  const int flags = ::fcntl(fresh.get(), F_GETFL);
  // Where it is not to be had there is no page cache either, or it is dropped.
  if (::fcntl(fresh.get(), F_SETFL, flags | O_DIRECT) != 0)
    ::posix_fadvise(fresh.get(), 0, 0, POSIX_FADV_DONTNEED);
  thread_local DirectReader reader;
  return reader.read(fresh.get(), into, offset);
}

}  // namespace

Result<size_t> read_directly(int fd, std::span<std::byte> into, uint64_t offset) {
  thread_local DirectReader reader;
  size_t done = 0;
  while (done < into.size()) {
    TRY_ASSIGN(const size_t got, reader.read(fd, into.subspan(done), offset + done));
    if (got == 0) break;
    done += got;
  }
  return done;
}

bool PageCacheTrust::is_doubtful(int fd) {
  Kind kind = kind_.load(std::memory_order_relaxed);
  if (kind == Kind::kUnknown) {
    struct statfs fs{};
    if (::fstatfs(fd, &fs) != 0) return true;
    kind = fs.f_type == FUSE_SUPER_MAGIC ? Kind::kDoubtful : Kind::kTrusted;
    kind_.store(kind, std::memory_order_relaxed);
  }
  return kind >= Kind::kDoubtful;
}

bool may_be_filled_up(std::span<const std::byte> bytes, uint64_t offset) {
  while (!bytes.empty()) {
    const size_t page = std::min<size_t>(kPageBytes - offset % kPageBytes, bytes.size());
    const auto end = bytes.first(page).last(std::min(page, kSectorBytes));
    if (std::ranges::all_of(end, [](std::byte byte) { return byte == std::byte{0}; })) return true;
    bytes = bytes.subspan(page);
    offset += page;
  }
  return false;
}

Result<size_t> read_believably(int fd, std::span<std::byte> into, uint64_t offset,
                               PageCacheTrust& trust) {
  thread_local std::vector<std::byte> second;
  auto pause = kPauseMin;
  for (int tries = 0; tries < kTriesMax; ++tries, pause *= 2) {
    TRY_ASSIGN(const size_t got, read_fully(fd, into, offset));
    if (got == into.size() && !may_be_filled_up(into, offset)) return got;
    if (!trust.is_doubtful(fd)) return got;
    second.resize(into.size());
    TRY_ASSIGN(const size_t again, read_past_page_cache(fd, second, offset));
    if (again == got && (got == 0 || std::memcmp(second.data(), into.data(), got) == 0)) return got;
    ::posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    std::this_thread::sleep_for(pause);
  }
  return fail(Code::kIo, "the source answers differently each time");
}

}  // namespace larder::source
