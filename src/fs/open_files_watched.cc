// CachedFileSystem: changes made elsewhere to files that are open.  They are noticed without being
// asked for, and their new bytes reach the objects that the kernel reads.

#include "base/log.h"
#include "fs/cached_file_system.h"

namespace larder::fs {
namespace {

constexpr Nanos kWatchedTtlMax = std::chrono::hours(24);
// Where programs are told nothing that was not asked for just then, files that nobody asks about.
constexpr Nanos kWatchedTtlMin = std::chrono::milliseconds(250);
// A node whose time is not over yet is looked at a moment after it is.
constexpr Nanos kMoment = std::chrono::milliseconds(10);
// A file that changes as fast as it is asked about is opened as it is.
constexpr int kAskedAgainMax = 4;
// So much an opener waits for; it takes a round trip or two.
constexpr uint64_t kAwaitedGrowthBytesMax = 4 << 20;

}  // namespace

// Where others change the source; what is believed for a day is not expected to change.
bool CachedFileSystem::is_watching() const {
  return coherence_.revalidate_at_open && coherence_.attributes_ttl < kWatchedTtlMax;
}

Nanos CachedFileSystem::watch_period() const {
  return coherence_.attributes_ttl == Nanos(0) ? kWatchedTtlMin : coherence_.attributes_ttl;
}

void CachedFileSystem::watch(Node& node) {
  if (!is_watching()) return;
  const Nanos due = now() + watch_period();
  MutexLock lock(node.mutex_);
  if (node.watch_ticket_ == 0) node.watch_ticket_ = watch_.add(node.id(), due);
}

cache::NextStep CachedFileSystem::watch_step() {
  for (const OpenWatch::Turn& turn : watch_.take_due(now())) {
    const NodePtr node = table_.find(turn.node);
    bool is_open = false;
    Nanos valid_until{0};
    if (node) {
      MutexLock lock(node->mutex_);
      const bool is_its_turn = node->watch_ticket_ == turn.ticket;
      is_open = is_its_turn && node->handles_ > 0;
      if (is_its_turn && !is_open) node->watch_ticket_ = 0;
      valid_until = node->valid_until_;
    }
    if (!is_open)
      watch_.forget();
    else if (now() < valid_until)  // others have asked
      watch_.give_back(turn, valid_until + kMoment);
    else if (!source_.is_up())
      watch_.give_back(turn, now() + watch_period());
    else
      home(KernelId{node->id().value}).spawn(ask_open_task(this, node, turn));
  }
  return watch_.next();
}

io::Task<void> CachedFileSystem::ask_open_task(CachedFileSystem* self, NodePtr node,
                                               OpenWatch::Turn turn) {
  self->watch_.count_asked();
  io::Task<Result<void>> refreshing = self->refresh_open(node);
  // Whoever reads it learns of an error by itself.
  if (const Result<void> refreshed = co_await std::move(refreshing); !refreshed)
    log::debug("an open file cannot be asked about: {}", refreshed.error().message());
  io::Task<void> catching_up = self->catch_up(node);
  co_await std::move(catching_up);
  self->watch_.give_back(turn, self->now() + self->watch_period());
}

void CachedFileSystem::renew_if_wanted(Node& node) {
  cache::CachedFile* const file = node.file_if_any();
  if (file != nullptr && file->begin_renewal())
    home(KernelId{node.id().value}).spawn(renew_task(this, node.shared_from_this()));
}

// A reader who opens a file that grew finds all of it.  By an inode that the kernel reads the
// object by, that is so once the object has grown, too; where that takes long, the reader is sent
// to another inode (choose_mode).
io::Task<void> CachedFileSystem::await_growth(NodePtr node) {
  cache::CachedFile& file = node->file();
  const std::optional<uint64_t> visible = file.visible_bytes();
  if (!visible || file.size_bytes() > *visible + kAwaitedGrowthBytesMax) co_return;
  {
    io::AsyncMutex::Guard changing = co_await node->changing().lock();
    io::Task<Result<void>> ending = file.renew_end();
    if (const Result<void> ended = co_await std::move(ending); !ended)
      log::debug("a file that grew is opened without its end: {}", ended.error().message());
  }
  invalidate_kernel_attributes(*node);
}

// What an opener finds is what the source had when it was asked, also where the answer came amid a
// renewal and was not used.
io::Task<void> CachedFileSystem::await_version(NodePtr node) {
  cache::CachedFile& file = node->file();
  const auto is_behind = [&] {
    MutexLock lock(node->mutex_);
    return file.is_behind(source_.validator(node->attributes_));
  };
  for (int left = kAskedAgainMax; left > 0 && is_behind(); --left) {
    {
      io::AsyncMutex::Guard changing = co_await node->changing().lock();
      io::Task<Result<void>> ending = file.renew_end();
      if (const Result<void> ended = co_await std::move(ending); !ended)
        log::debug("a changed file is opened amid its renewal: {}", ended.error().message());
    }
    io::Task<Result<void>> refreshing = refresh_open(node);
    if (const Result<void> refreshed = co_await std::move(refreshing); !refreshed) break;
  }
}

io::Task<void> CachedFileSystem::renew_task(CachedFileSystem* self, NodePtr node) {
  cache::CachedFile& file = node->file();
  Result<void> renewed;
  do {
    {
      io::AsyncMutex::Guard changing = co_await node->changing().lock();
      io::Task<Result<void>> ending = file.renew_end();
      renewed = co_await std::move(ending);
    }
    // Size and bytes are shown together.
    self->invalidate_kernel_attributes(*node);
    if (renewed) {
      io::Task<Result<void>> rest = file.renew_rest();
      renewed = co_await std::move(rest);
    }
    if (!renewed && is_gone(renewed.error())) {  // changed again
      io::Task<Result<void>> refreshing = self->refresh_open(node);
      if (const Result<void> refreshed = co_await std::move(refreshing); !refreshed)
        renewed = refreshed;
    }
  } while (file.end_renewal(renewed.has_value()));
  if (!renewed)
    log::debug("a changed file cannot be fetched again for its readers, for now: {}",
               renewed.error().message());
}

}  // namespace larder::fs
