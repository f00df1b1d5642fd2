// CachedFileSystem: what the janitor's duties have to know of nodes in memory.

#include "fs/cached_file_system.h"

namespace larder::fs {

std::unordered_set<ObjectId> CachedFileSystem::objects_in_memory() {
  std::unordered_set<ObjectId> objects;
  for (const NodePtr& node : table_.all()) {
    ObjectId object;
    {
      MutexLock lock(node->mutex_);
      // What its file would take over, as long as there is none.
      object = node->object();
    }
    if (object) objects.insert(object);
  }
  return objects;
}

std::shared_ptr<cache::FileOwner> CachedFileSystem::owner_of(NodeId id) {
  NodePtr node = load(id);
  return node && node->is_regular() ? node : nullptr;
}

std::string CachedFileSystem::path_for_message(NodeId id) {
  if (const NodePtr node = table_.find(id))
    if (const auto path = path_of(*node)) return *path;
  constexpr int kDepthMax = 4096;  // no longer path can be looked up
  std::string path;
  for (int depth = 0; id != kRootNode && depth < kDepthMax; ++depth) {
    const auto record = env_.catalog.node(id);
    if (!record || !*record || !(**record).parent) break;
    if (!path.empty()) path.insert(0, "/");
    path.insert(0, (**record).name);
    id = (**record).parent;
  }
  return path.empty() ? "a file without a name" : path;
}

io::Task<void> CachedFileSystem::refill_task(std::shared_ptr<Node> node) {
  io::Task<void> refilling = node->file().refill_exposed(0, UINT64_MAX);
  co_await std::move(refilling);
}

void CachedFileSystem::blocks_dropped(NodeId id) {
  const NodePtr node = table_.find(id);
  if (!node) return;
  std::vector<KernelId> known;
  {
    MutexLock lock(node->mutex_);
    for (const KernelInode& inode : node->kernel_inodes_)
      if (inode.lookups > 0) known.push_back(KernelId::make(id.value, inode.epoch));
  }
  for (const KernelId inode : known) kernel_->invalidate_node(inode);
  if (cache::CachedFile* file = node->file_if_any(); file != nullptr && file->is_exposed())
    home(KernelId::make(id.value, 0)).spawn(refill_task(node));
}

}  // namespace larder::fs
