#include "fs/node_table.h"

#include "fs/node.h"

namespace larder::fs {

std::shared_ptr<Node> NodeTable::find(NodeId id) const {
  const Shard& s = shard(id);
  MutexLock lock(s.mutex);
  const auto it = s.nodes.find(id);
  return it == s.nodes.end() ? nullptr : it->second.lock();
}

std::shared_ptr<Node> NodeTable::find_or_make(NodeId id,
                                              const std::function<std::shared_ptr<Node>()>& make) {
  Shard& s = shard(id);
  MutexLock lock(s.mutex);
  if (const auto it = s.nodes.find(id); it != s.nodes.end())
    if (auto node = it->second.lock()) return node;
  auto node = make();
  if (node) s.nodes[id] = node;
  return node;
}

void NodeTable::erase(NodeId id) {
  Shard& s = shard(id);
  MutexLock lock(s.mutex);
  // A successor may have been entered since the last reference went.
  if (const auto it = s.nodes.find(id); it != s.nodes.end() && it->second.expired())
    s.nodes.erase(it);
}

std::vector<std::shared_ptr<Node>> NodeTable::all() const {
  std::vector<std::shared_ptr<Node>> all;
  for (const Shard& s : shards_) {
    MutexLock lock(s.mutex);
    for (const auto& [id, node] : s.nodes)
      if (auto alive = node.lock()) all.push_back(std::move(alive));
  }
  return all;
}

size_t NodeTable::size() const {
  size_t sum = 0;
  for (const Shard& s : shards_) {
    MutexLock lock(s.mutex);
    sum += s.nodes.size();
  }
  return sum;
}

}  // namespace larder::fs
