// Invariants: one read of the wake descriptor is in the ring at all times; an operation has at most
// one entry in the ring, so the queues, sized for depth_max, never overflow; entries are handed to
// the kernel once per turn.
#include "io/ring_engine.h"

#include <liburing.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <string>
#include <utility>

#include "base/check.h"
#include "base/failpoint.h"
#include "io/thread_engine.h"

namespace larder::io {
namespace {

constexpr size_t kTransferMax = size_t{1} << 30;  // an entry's length has 32 bits
constexpr uint64_t kWakeTag = 0;                  // other tags are Operation pointers

// Best first: what Linux 6.1, 5.19 and 5.11 have.  (Absent from old headers, these are stable
// numbers.)
constexpr std::array<unsigned, 3> kSetups = {
    IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_SUBMIT_ALL,
    IORING_SETUP_COOP_TASKRUN | IORING_SETUP_SUBMIT_ALL,
    0,
};

class RingEngine final : public Engine {
 public:
  RingEngine(OperationSink& sink, Inbox& inbox, const ReactorOptions& options)
      : sink_(sink),
        inbox_(inbox),
        threads_(sink, inbox,
                 {.threads_max = options.threads_max,
                  .queue_max = options.depth_max,
                  .name = options.name + "-io"}) {}
  ~RingEngine() override;

  Result<void> open(const ReactorOptions& options);

  void start(Operation& op) override;
  void turn(std::optional<Nanos> timeout) override;

 private:
  io_uring_sqe* entry();
  void arm_wake();
  void prepare(Operation& op);
  void submit_and_sleep(std::optional<Nanos> timeout);
  void reap();
  void advance(Operation& op, int result);
  // True when the operation was started again rather than ended.
  bool retry(Operation& op, int error);

  OperationSink& sink_;
  Inbox& inbox_;
  ThreadEngine threads_;  // for files without a descriptor
  io_uring ring_{};
  bool open_ = false;
  bool wake_armed_ = false;
  uint64_t wake_count_ = 0;  // the kernel reads the eventfd into it
  uint32_t in_ring_ = 0;     // operations, without the wake read
};

Result<void> RingEngine::open(const ReactorOptions& options) {
  if (failpoint::hit("io.ring_open"))
    return fail(Code::kNotSupported, "io_uring: injected refusal");
  int status = -EINVAL;
  for (const unsigned setup : kSetups) {
    // + 1: the wake read.  The kernel rounds up to a power of two.
    status = ::io_uring_queue_init(options.depth_max + 1, &ring_, setup);
    if (status != -EINVAL) break;
  }
  if (status < 0) return fail(Code::kNotSupported, std::string("io_uring: ") + ::strerror(-status));
  open_ = true;
  if ((ring_.features & IORING_FEAT_EXT_ARG) == 0)
    return fail(Code::kNotSupported, "io_uring: Linux older than 5.11");
  // Neither is needed for correctness: kernels before 5.15 and 5.18 have not got them.
  unsigned workers_max[2] = {options.threads_max, options.threads_max};
  (void)::io_uring_register_iowq_max_workers(&ring_, workers_max);
  (void)::io_uring_register_ring_fd(&ring_);
  TRY(inbox_.open_wake_descriptor());
  arm_wake();
  return {};
}

RingEngine::~RingEngine() {
  if (!open_) return;
  CHECK(in_ring_ == 0);
  // The kernel must not write wake_count_ later: let the read end.
  if (wake_armed_) CHECK(::eventfd_write(inbox_.wake_descriptor(), 1) == 0);
  while (wake_armed_) {
    submit_and_sleep(std::nullopt);
    io_uring_cqe* cqe = nullptr;
    while (::io_uring_peek_cqe(&ring_, &cqe) == 0) {
      if (cqe->user_data == kWakeTag) wake_armed_ = false;
      ::io_uring_cqe_seen(&ring_, cqe);
    }
  }
  ::io_uring_queue_exit(&ring_);
}

io_uring_sqe* RingEngine::entry() {
  io_uring_sqe* const sqe = ::io_uring_get_sqe(&ring_);
  CHECK(sqe != nullptr);
  return sqe;
}

void RingEngine::arm_wake() {
  io_uring_sqe* const sqe = entry();
  ::io_uring_prep_read(sqe, inbox_.wake_descriptor(), &wake_count_, sizeof wake_count_, 0);
  sqe->user_data = kWakeTag;
  wake_armed_ = true;
}

void RingEngine::start(Operation& op) {
  if (op.file->fd() < 0) {
    threads_.start(op);
    return;
  }
  ++in_ring_;
  prepare(op);
}

void RingEngine::prepare(Operation& op) {
  io_uring_sqe* const sqe = entry();
  const int fd = op.file->fd();
  std::byte* const data = op.data + op.done_bytes;
  const auto length = static_cast<unsigned>(std::min(op.size_bytes - op.done_bytes, kTransferMax));
  const uint64_t offset = op.offset + op.done_bytes;
  switch (op.kind) {
    case Operation::Kind::kRead:
      ::io_uring_prep_read(sqe, fd, data, length, offset);
      break;
    case Operation::Kind::kWrite:
      ::io_uring_prep_write(sqe, fd, data, length, offset);
      break;
    case Operation::Kind::kSyncData:
      ::io_uring_prep_fsync(sqe, fd, IORING_FSYNC_DATASYNC);
      break;
  }
  sqe->user_data = reinterpret_cast<uint64_t>(&op);
}

void RingEngine::turn(std::optional<Nanos> timeout) {
  if (timeout != Nanos::zero() && inbox_.prepare_sleep()) {
    submit_and_sleep(timeout);
  } else if (in_ring_ > 0 || ::io_uring_sq_ready(&ring_) > 0) {
    (void)::io_uring_submit_and_get_events(&ring_);  // what it did not take stays for the next turn
  }
  reap();
}

void RingEngine::submit_and_sleep(std::optional<Nanos> timeout) {
  __kernel_timespec limit{};
  if (timeout) {
    limit.tv_sec = timeout->count() / 1'000'000'000;
    limit.tv_nsec = timeout->count() % 1'000'000'000;
  }
  io_uring_cqe* first = nullptr;
  const int status =
      ::io_uring_submit_and_wait_timeout(&ring_, &first, 1, timeout ? &limit : nullptr, nullptr);
  // ETIME and EINTR are ends of the sleep; EBUSY and EAGAIN (no memory for an entry) are over by
  // the time what is done has been reaped.
  CHECK_MSG(
      status >= 0 || status == -ETIME || status == -EINTR || status == -EBUSY || status == -EAGAIN,
      ::strerror(-status));
}

void RingEngine::reap() {
  io_uring_cqe* cqe = nullptr;
  while (::io_uring_peek_cqe(&ring_, &cqe) == 0) {
    const uint64_t tag = cqe->user_data;
    const int result = cqe->res;
    ::io_uring_cqe_seen(&ring_, cqe);  // before a coroutine goes on
    if (tag == kWakeTag) {
      arm_wake();
    } else {
      advance(*reinterpret_cast<Operation*>(tag), result);
    }
  }
}

void RingEngine::advance(Operation& op, int result) {
  if (result < 0) {
    if (retry(op, -result)) return;
    const Code code = result == -ECANCELED ? Code::kCancelled : static_cast<Code>(-result);
    op.outcome = fail(code, "io_uring operation");
  } else if (op.kind != Operation::Kind::kSyncData) {
    op.done_bytes += static_cast<size_t>(result);
    if (result > 0 && op.done_bytes < op.size_bytes) {
      prepare(op);  // a short read or write: the rest
      return;
    }
    op.outcome = op.done_bytes;
    if (op.done_bytes < op.size_bytes && op.kind == Operation::Kind::kWrite)
      op.outcome = fail(Code::kIo, "write made no progress");
  }
  --in_ring_;
  sink_.completed(op);
}

bool RingEngine::retry(Operation& op, int error) {
  if (op.kind == Operation::Kind::kSyncData) return false;  // a failed sync is final
  if (error == EINTR) {
    prepare(op);
    return true;
  }
  if (error == EAGAIN) {  // not to be had without blocking
    --in_ring_;
    threads_.start(op);
    return true;
  }
  return false;
}

}  // namespace

Result<std::unique_ptr<Engine>> make_ring_engine(OperationSink& sink, Inbox& inbox,
                                                 const ReactorOptions& options) {
  auto engine = std::make_unique<RingEngine>(sink, inbox, options);
  TRY(engine->open(options));
  return engine;
}

}  // namespace larder::io
