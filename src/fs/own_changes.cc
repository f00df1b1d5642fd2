// CachedFileSystem: telling what others change from what is changed here.
//
// A change made here leaves another version at the source, and nobody says which.  So the next one
// that is seen, if it has the size that the change left, is taken for it, and a change that
// somebody else has made meanwhile is not noticed.  To make that time short the source is asked
// before the first of several changes, and a moment after the last.  What others change in between,
// while this side goes on changing the file, cannot be told from that (docs/SEMANTICS.md).

#include "base/log.h"
#include "fs/cached_file_system.h"

namespace larder::fs {
namespace {

// Changes that follow each other sooner count as one here.
constexpr Nanos kPauseMin = std::chrono::milliseconds(20);
// What was seen just now, as when the file was opened, need not be looked at again.
constexpr Nanos kJustNow = std::chrono::milliseconds(1);

}  // namespace

// The caller holds Node::changing.
io::Task<void> CachedFileSystem::look_before_change(NodePtr node,
                                                    std::shared_ptr<source::SourceFile> by) {
  if (!is_watching() || node->file().awaits_own_version()) co_return;
  {
    MutexLock lock(node->mutex_);
    if (now() < node->compared_at_ + kJustNow) co_return;
  }
  const uint64_t asked_at = changes().tick();
  source::Outcome<Attributes> asking = by->attributes();
  const Result<Attributes> found = co_await std::move(asking);
  // An error the change meets, too.
  if (found && same_file(*node, *found)) apply(*node, *found, asked_at);
}

void CachedFileSystem::look_after_change(Node& node) {
  if (!is_watching()) return;
  {
    MutexLock lock(node.mutex_);
    if (std::exchange(node.is_looked_after_, true)) return;
  }
  home(KernelId{node.id().value}).spawn(look_after_change_task(this, node.shared_from_this()));
}

io::Task<void> CachedFileSystem::look_after_change_task(CachedFileSystem* self, NodePtr node) {
  const auto last_change = [&] {
    MutexLock lock(node->mutex_);
    return node->attributes_changed_at_;
  };
  for (uint64_t seen = 0; seen != last_change();) {
    seen = last_change();
    co_await io::Reactor::current()->sleep(kPauseMin);
  }
  bool is_open = false;
  {
    MutexLock lock(node->mutex_);
    node->is_looked_after_ = false;
    is_open = node->handles_ > 0;  // closing asks, too
  }
  if (!is_open) co_return;
  io::Task<Result<void>> refreshing = self->refresh_open(node);
  if (const Result<void> refreshed = co_await std::move(refreshing); !refreshed)
    log::debug("a changed file cannot be asked about: {}", refreshed.error().message());
}

}  // namespace larder::fs
