// CachedFileSystem: what the kernel has cached of a file that was changed, and in which order it
// hears of that.
//
// The page in which a file ends has zeros behind the end.  A kernel inode that is told that the
// file has grown, before that page is gone, shows them as if somebody had written them.  So it is
// told of a larger size only once its pages have been dropped: until then it is shown the size that
// its pages belong to (KernelInode::HeldBack).

#include <algorithm>

#include "fs/cached_file_system.h"

namespace larder::fs {
namespace {

// The kernel's pages go when what it asks again after a cut has been answered (fs/cut_files.h); but
// not so late that others notice.
constexpr int kPagesPausesMax = 3;
// A drop takes less than a millisecond, but it waits for a write that holds one of the pages; and
// that one may wait for this.
constexpr Nanos kDropAwaitedMax = std::chrono::milliseconds(100);
// Unless pages that were refused are asked for again, it takes one pause.
constexpr Nanos kShownPause = std::chrono::milliseconds(1);
constexpr int kShownPausesMax = 1000;

io::Task<void> give_up_later(io::Completion<bool> dropped) {
  co_await io::Reactor::current()->sleep(kDropAwaitedMax);
  dropped.set(false);
}

}  // namespace

// What is read in passthrough has no pages.
bool CachedFileSystem::hold_back_growth(Node& node, uint64_t old_size_bytes) {
  bool is_held_back = false;
  for (KernelInode& inode : node.kernel_inodes_) {
    if (inode.lookups == 0 || inode.passthrough_opens > 0) continue;
    if (!inode.held_back) inode.held_back = std::make_unique<KernelInode::HeldBack>(old_size_bytes);
    uint64_t& shown_bytes_max = inode.held_back->shown_bytes_max;
    shown_bytes_max = std::min(shown_bytes_max, old_size_bytes);
    is_held_back = true;
  }
  return is_held_back;
}

void CachedFileSystem::invalidate_kernel(Node& node, std::optional<uint64_t> except_epoch,
                                         bool is_cut) {
  std::vector<KernelId> known;
  std::vector<KernelId> in_passthrough;  // goes on being opened, and has a size only
  {
    MutexLock lock(node.mutex_);
    if (!except_epoch) ++node.content_version_;
    for (KernelInode& inode : node.kernel_inodes_) {
      if (inode.epoch == except_epoch) continue;
      inode.version = 0;
      if (!node.is_stale(inode)) inode.version = node.content_version_;  // it has no pages
      const KernelId id = KernelId::make(node.id().value, inode.epoch);
      if (inode.lookups > 0) known.push_back(id);
      if (inode.passthrough_opens > 0) in_passthrough.push_back(id);
    }
  }
  invalidate_attributes(node, in_passthrough);
  if (is_cut && !known.empty())
    return home(KernelId{node.id().value}).spawn(drop_pages_task(this, node.shared_from_this()));
  for (const KernelId id : known) drop_pages(node, id);
}

// Who opens the file by this kernel inode finds all of it.  The inode may know an older size, which
// the kernel can be made to forget only while nothing is asked again (invalidate_attributes).
io::Task<void> CachedFileSystem::await_shown(NodePtr node, KernelId id) {
  const auto is_hidden = [&] {
    if (cut_files_.awaits_retry(node->id(), now())) return true;
    MutexLock lock(node->mutex_);
    const KernelInode* const inode = node->find_kernel_inode(id.epoch());
    return inode != nullptr && inode->held_back;
  };
  for (int left = kShownPausesMax; left > 0 && is_hidden(); --left)
    co_await io::Reactor::current()->sleep(kShownPause);
}

bool CachedFileSystem::is_read_elsewhere(Node& node, uint64_t epoch) {
  MutexLock lock(node.mutex_);
  return std::ranges::any_of(node.kernel_inodes_, [&](const KernelInode& inode) {
    return inode.epoch != epoch && inode.cached_opens > 0;
  });
}

// Who has the file open by another of its kernel inodes reads what was changed by this one as soon
// as the change is answered.  Not to be awaited with changing() held: pages that are being read are
// waited for.
io::Task<void> CachedFileSystem::await_others_dropped(NodePtr node, uint64_t epoch) {
  std::vector<KernelId> others;
  {
    MutexLock lock(node->mutex_);
    for (const KernelInode& inode : node->kernel_inodes_)
      if (inode.epoch != epoch && inode.cached_opens > 0)
        others.push_back(KernelId::make(node->id().value, inode.epoch));
  }
  for (const KernelId id : others) {
    const io::Completion<bool> dropped;
    kernel_->invalidate_node(id, [dropped] { dropped.set(true); });
    io::Reactor::current()->spawn(give_up_later(dropped));
    co_await dropped;
  }
}

void CachedFileSystem::drop_pages(Node& node, KernelId id) {
  std::function<void()> then;
  {
    MutexLock lock(node.mutex_);
    KernelInode* const inode = node.find_kernel_inode(id.epoch());
    if (inode == nullptr) return;
    if (KernelInode::HeldBack* const held_back = inode->held_back.get()) {
      held_back->is_emptied_again = held_back->is_being_emptied;
      if (std::exchange(held_back->is_being_emptied, true)) return;
    }
    const bool is_cut = cut_files_.begin_telling(node.id());
    if (inode->held_back || node.partial_writes_ || is_cut)
      then = [this, id] { pages_dropped(id); };
  }
  kernel_->invalidate_node(id, std::move(then));
}

void CachedFileSystem::pages_dropped(KernelId id) {
  cut_files_.end_telling(NodeId{id.node()});
  const NodePtr node = table_.find(NodeId{id.node()});
  if (!node) return;
  // The pages were waited for, and when one of them was refused the kernel asks for it again right
  // now: it must learn nothing of the file before it has the answer (fs/cut_files.h).
  const bool is_too_soon = cut_files_.awaits_retry(node->id(), now());
  bool is_again = false;
  {
    MutexLock lock(node->mutex_);
    if (node->partial_writes_) node->partial_writes_->dropped(id.epoch());
    KernelInode* const inode = node->find_kernel_inode(id.epoch());
    if (inode == nullptr || !inode->held_back) return;
    inode->held_back->is_being_emptied = false;
    is_again = std::exchange(inode->held_back->is_emptied_again, false);
    if (!is_again && !is_too_soon) inode->held_back.reset();
  }
  if (is_too_soon)
    home(id).spawn(drop_pages_task(this, node));
  else if (is_again)
    drop_pages(*node, id);
  else
    kernel_->invalidate_attributes(id);
}

// The file is shorter than it was, or may be shorter than the kernel takes it to be, which has not
// heard yet of the last time.
bool CachedFileSystem::is_cut_for_kernel(Node& node, const cache::CachedFile& file,
                                         uint64_t new_size_bytes) {
  const uint64_t size_bytes = file.size_bytes();
  return new_size_bytes < size_bytes ||
         (new_size_bytes != size_bytes && cut_files_.contains(node.id(), now()));
}

// Before anything here knows of the new size: what the kernel asks from now on it asks with nothing
// of the file still to learn.
void CachedFileSystem::note_cut(Node& node) {
  bool is_read = false;
  {
    MutexLock lock(node.mutex_);
    for (const KernelInode& inode : node.kernel_inodes_) is_read |= inode.cached_opens > 0;
  }
  if (is_read && cut_files_.note(node.id(), now())) invalidate_kernel_attributes(node);
}

void CachedFileSystem::invalidate_kernel_attributes(Node& node) {
  for (const KernelId known : known_to_kernel(node)) kernel_->invalidate_attributes(known);
}

void CachedFileSystem::invalidate_attributes(Node& node, const std::vector<KernelId>& known) {
  if (known.empty()) return;
  if (cut_files_.awaits_retry(node.id(), now()))
    return home(known.front()).spawn(drop_pages_task(this, node.shared_from_this()));
  for (const KernelId id : known) kernel_->invalidate_attributes(id);
}

std::vector<KernelId> CachedFileSystem::known_to_kernel(Node& node) {
  std::vector<KernelId> known;
  MutexLock lock(node.mutex_);
  for (const KernelInode& inode : node.kernel_inodes_)
    if (inode.lookups > 0) known.push_back(KernelId::make(node.id().value, inode.epoch));
  return known;
}

io::Task<void> CachedFileSystem::drop_pages_task(CachedFileSystem* self, NodePtr node) {
  bool is_asked_once = false;
  {
    MutexLock lock(node->mutex_);
    is_asked_once = node->partial_writes_ != nullptr;
  }
  for (int left = kPagesPausesMax; left > 0; --left) {
    // Nothing has been refused that the kernel may ask for again now.
    if (!is_asked_once && self->cut_files_.note_again(node->id(), self->now())) break;
    co_await io::Reactor::current()->sleep(CutFiles::kRetryTime);
    is_asked_once = false;
  }
  for (const KernelId known : self->known_to_kernel(*node)) self->drop_pages(*node, known);
}

}  // namespace larder::fs
