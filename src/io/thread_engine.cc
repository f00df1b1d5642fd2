#include "io/thread_engine.h"

#include <span>
#include <utility>

namespace larder::io {
namespace {

// Blocks.  Goes on from op.done_bytes.
void carry_out(Operation& op) {
  const std::span<std::byte> rest(op.data + op.done_bytes, op.size_bytes - op.done_bytes);
  const uint64_t offset = op.offset + op.done_bytes;
  switch (op.kind) {
    case Operation::Kind::kRead:
      op.outcome = op.file->read_at(rest, offset);
      if (op.outcome) *op.outcome += op.done_bytes;
      return;
    case Operation::Kind::kWrite: {
      Result<void> written = op.file->write_at(rest, offset);
      if (written) {
        op.outcome = op.size_bytes;
      } else {
        op.outcome = fail(std::move(written).error());
      }
      return;
    }
    case Operation::Kind::kSyncData: {
      Result<void> synced = op.file->sync_data();
      if (!synced) op.outcome = fail(std::move(synced).error());
      return;
    }
  }
}

}  // namespace

ThreadEngine::ThreadEngine(OperationSink& sink, Inbox& inbox, WorkerPool::Options options)
    : sink_(sink), inbox_(inbox), pool_(std::move(options)) {}

void ThreadEngine::start(Operation& op) {
  const bool accepted = pool_.submit([this, &op] {
    carry_out(op);
    report(op);
  });
  if (accepted) return;
  // The system gives not one thread: slow, but right.
  carry_out(op);
  report(op);
}

void ThreadEngine::report(Operation& op) {
  inbox_.post([this, &op] { sink_.completed(op); });
}

void ThreadEngine::turn(std::optional<Nanos> timeout) {
  if (timeout != Nanos::zero()) inbox_.wait(timeout);
}

}  // namespace larder::io
