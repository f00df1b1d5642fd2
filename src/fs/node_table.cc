#include "fs/node_table.h"

#include "fs/node.h"

namespace larder::fs {

Node* NodeTable::find_alive(const Shard& s, uint64_t hash, NodeId id) {
  for (Node* node = s.buckets[bucket(s, hash)]; node != nullptr; node = node->next_in_table_)
    if (node->id_ == id) return node->weak_from_this().expired() ? nullptr : node;
  return nullptr;
}

void NodeTable::enter(Shard& s, uint64_t hash, Node& node) {
  if (s.nodes == s.buckets.size()) {
    std::vector<Node*> old(2 * s.buckets.size());
    old.swap(s.buckets);
    for (Node* chain : old) {
      while (chain != nullptr) {
        Node& moved = *std::exchange(chain, chain->next_in_table_);
        Node*& head = s.buckets[bucket(s, mix64(moved.id_.value))];
        moved.next_in_table_ = std::exchange(head, &moved);
      }
    }
  }
  node.next_in_table_ = std::exchange(s.buckets[bucket(s, hash)], &node);
  ++s.nodes;
}

void NodeTable::take_out(Shard& s, uint64_t hash, Node& node) {
  Node** link = &s.buckets[bucket(s, hash)];
  while (*link != nullptr && *link != &node) link = &(*link)->next_in_table_;
  if (*link == nullptr) return;  // a successor has done it
  *link = node.next_in_table_;
  --s.nodes;
}

std::shared_ptr<Node> NodeTable::find(NodeId id) const {
  const uint64_t hash = mix64(id.value);
  const Shard& s = shard(hash);
  MutexLock lock(s.mutex);
  Node* const node = find_alive(s, hash, id);
  return node == nullptr ? nullptr : node->weak_from_this().lock();
}

std::shared_ptr<Node> NodeTable::find_or_make(NodeId id,
                                              const std::function<std::shared_ptr<Node>()>& make) {
  const uint64_t hash = mix64(id.value);
  Shard& s = shard(hash);
  MutexLock lock(s.mutex);
  for (Node* known = s.buckets[bucket(s, hash)]; known != nullptr; known = known->next_in_table_) {
    if (known->id_ != id) continue;
    if (auto node = known->weak_from_this().lock()) return node;
    take_out(s, hash, *known);  // it is about to do so itself
    break;
  }
  auto node = make();
  if (node) enter(s, hash, *node);
  return node;
}

bool NodeTable::if_absent(NodeId id, const std::function<void()>& act) {
  const uint64_t hash = mix64(id.value);
  const Shard& s = shard(hash);
  MutexLock lock(s.mutex);
  // Also one whose destructor has begun: it may still write its record.
  for (Node* node = s.buckets[bucket(s, hash)]; node != nullptr; node = node->next_in_table_)
    if (node->id_ == id) return false;
  act();
  return true;
}

void NodeTable::erase(Node& node) {
  const uint64_t hash = mix64(node.id_.value);
  Shard& s = shard(hash);
  MutexLock lock(s.mutex);
  take_out(s, hash, node);
}

std::vector<std::shared_ptr<Node>> NodeTable::all() const {
  std::vector<std::shared_ptr<Node>> all;
  for (const Shard& s : shards_) {
    MutexLock lock(s.mutex);
    for (Node* chain : s.buckets)
      for (Node* node = chain; node != nullptr; node = node->next_in_table_)
        if (auto alive = node->weak_from_this().lock()) all.push_back(std::move(alive));
  }
  return all;
}

size_t NodeTable::size() const {
  size_t sum = 0;
  for (const Shard& s : shards_) {
    MutexLock lock(s.mutex);
    sum += s.nodes;
  }
  return sum;
}

}  // namespace larder::fs
