// NodeTable: the nodes in memory, by id.  Sharded; thread-safe.
//
// Holds no references: a node lives as long as the kernel, a request, a child or a claim holds it,
// and takes itself out of the table when it goes.
//
// Invariants, of a shard under its lock
//   - A node is in the chain of its bucket from when it is entered until its destructor, or a
//     successor entered meanwhile, takes it out; so what a chain leads to is memory of a node,
//     whose destructor may have begun.
//   - buckets is a power of two, and grows with the number of nodes.
#pragma once

#include <array>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "base/ids.h"
#include "base/mutex.h"

namespace larder::fs {

class Node;

class NodeTable {
 public:
  // Null when it is not in memory.
  std::shared_ptr<Node> find(NodeId id) const;
  // Calls visitor(node) under the shard's lock when the node is in memory, and says whether it was:
  // a short look costs less this way than with find().
  template <class Visitor>
  bool visit(NodeId id, Visitor&& visitor) const {
    const uint64_t hash = mix64(id.value);
    const Shard& s = shard(hash);
    MutexLock lock(s.mutex);
    Node* const node = find_alive(s, hash, id);
    if (node == nullptr) return false;
    std::forward<Visitor>(visitor)(*node);
    return true;
  }
  // The node in memory, or what `make` gives (which may be null), entered.  `make` runs under the
  // shard's lock, also when it reads the node's record, which may have to come from the cache disk:
  // a record read before could be older than one that a node of this id wrote, and went, meanwhile.
  std::shared_ptr<Node> find_or_make(NodeId id, const std::function<std::shared_ptr<Node>()>& make);
  // Runs `act` under the shard's lock unless the node is in memory, so that it cannot come there
  // meanwhile; whether it did.  `act` may read and write the catalog.
  bool if_absent(NodeId id, const std::function<void()>& act);
  // Called by a node's destructor.
  void erase(Node& node);
  size_t size() const;
  std::vector<std::shared_ptr<Node>> all() const;

 private:
  static constexpr size_t kShards = 64;
  static constexpr size_t kBucketsAtFirst = 16;
  struct alignas(64) Shard {
    mutable Mutex mutex;
    std::vector<Node*> buckets GUARDED_BY(mutex) = std::vector<Node*>(kBucketsAtFirst);
    size_t nodes GUARDED_BY(mutex) = 0;
  };
  // The low bits of the hash choose the shard, the others the bucket.
  Shard& shard(uint64_t hash) { return shards_[hash % kShards]; }
  const Shard& shard(uint64_t hash) const { return shards_[hash % kShards]; }
  static size_t bucket(const Shard& s, uint64_t hash) REQUIRES(s.mutex) {
    return hash / kShards & (s.buckets.size() - 1);
  }
  static Node* find_alive(const Shard& s, uint64_t hash, NodeId id) REQUIRES(s.mutex);
  static void enter(Shard& s, uint64_t hash, Node& node) REQUIRES(s.mutex);
  static void take_out(Shard& s, uint64_t hash, Node& node) REQUIRES(s.mutex);

  std::array<Shard, kShards> shards_;
};

}  // namespace larder::fs
