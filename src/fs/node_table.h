// NodeTable: the nodes in memory, by id.  Sharded; thread-safe.
//
// Holds weak references: a node lives as long as the kernel, a request, a child or a claim holds
// it, and takes itself out of the table when it goes.
#pragma once

#include <array>
#include <functional>
#include <memory>
#include <unordered_map>
#include <vector>

#include "base/ids.h"
#include "base/mutex.h"

namespace larder::fs {

class Node;

class NodeTable {
 public:
  // Null when it is not in memory.
  std::shared_ptr<Node> find(NodeId id) const;
  // The node in memory, or what `make` gives (which may be null), entered.  `make` runs under the
  // shard's lock.
  std::shared_ptr<Node> find_or_make(NodeId id, const std::function<std::shared_ptr<Node>()>& make);
  // Called by a node's destructor.
  void erase(NodeId id);
  size_t size() const;
  std::vector<std::shared_ptr<Node>> all() const;

 private:
  static constexpr size_t kShards = 64;
  struct Shard {
    mutable Mutex mutex;
    std::unordered_map<NodeId, std::weak_ptr<Node>> nodes GUARDED_BY(mutex);
  };
  Shard& shard(NodeId id) { return shards_[mix64(id.value) % kShards]; }
  const Shard& shard(NodeId id) const { return shards_[mix64(id.value) % kShards]; }
  std::array<Shard, kShards> shards_;
};

}  // namespace larder::fs
