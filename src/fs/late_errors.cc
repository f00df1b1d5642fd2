// CachedFileSystem: syncs and closes of changed files, and what is done when the source reports
// then (or at a write) that it did not keep what it had taken (cache/unsynced.h).

#include "base/log.h"
#include "fs/open_file.h"

namespace larder::fs {
namespace {

// The refusal of a call, or no answer at all, says nothing of what was written before.
bool is_late_error(const Error& error) {
  if (error.code() >= Code::kFirstOwn) return false;
  switch (static_cast<int>(error.code())) {
    case EINVAL:
    case EFBIG:
    case EBADF:
    case EINTR:
    case EAGAIN:
    case ENOSYS:
    case EOPNOTSUPP:
    case EMFILE:
      return false;
    default:
      return true;
  }
}

}  // namespace

// The caller holds Node::changing.
io::Task<void> CachedFileSystem::take_back(NodePtr node, std::shared_ptr<source::SourceFile> by,
                                           Error error) {
  if (!is_late_error(error)) co_return;
  log::debug("the source did not keep what was written: {}", error.message());
  io::Task<void> taking = node->file().take_back(std::move(by));
  co_await std::move(taking);
  expire(*node);
  invalidate_kernel(*node, std::nullopt);
}

io::Task<Result<void>> CachedFileSystem::sync_by(OpenFile* open,
                                                 std::shared_ptr<source::SourceFile> by,
                                                 bool data_only) {
  const NodePtr node = open->node;
  cache::CachedFile& file = node->file();
  const uint64_t begun = file.begin_sync();
  source::Outcome<void> syncing = by->sync(data_only);
  const Result<void> synced = co_await std::move(syncing);
  if (open->incarnation->is_parted()) {
    if (!synced) invalidate_parted(*open);
    co_return synced;
  }
  if (synced) {
    file.synced(begun);
    co_return synced;
  }
  io::AsyncMutex::Guard changing = co_await node->changing().lock();
  io::Task<void> taking = take_back(node, std::move(by), synced.error());
  co_await std::move(taking);
  co_return synced;
}

io::Task<Result<void>> CachedFileSystem::flush(uint64_t handle) {
  io::Task<Result<void>> settling = settle(&file_of(handle));
  co_return co_await std::move(settling);
}

// What the source made of our writes is the version from now on.  Seen to before close() returns:
// what others change after that must be seen as theirs.
io::Task<Result<void>> CachedFileSystem::settle(OpenFile* open) {
  if (!open->source || !open->wrote.exchange(false)) co_return Result<void>();
  const NodePtr node = open->node;
  source::Outcome<void> flushing = open->source->flush();
  const Result<void> flushed = co_await std::move(flushing);
  node->file().flushed();
  if (open->incarnation->is_parted()) {
    if (!flushed) invalidate_parted(*open);
    co_return flushed;
  }
  if (!flushed) {
    io::AsyncMutex::Guard changing = co_await node->changing().lock();
    io::Task<void> taking = take_back(node, open->source, flushed.error());
    co_await std::move(taking);
  }
  const uint64_t asked_at = changes().tick();
  source::Outcome<Attributes> asking = open->source->attributes();
  const Result<Attributes> now = co_await std::move(asking);
  if (now && !open->incarnation->is_parted()) apply(*node, *now, asked_at);
  co_return flushed;
}

}  // namespace larder::fs
