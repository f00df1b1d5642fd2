// The memory tier: hot blocks of objects in pooled buffers, within a byte budget, in independently locked
// shards.  Thread-safe; a hit allocates nothing.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/ids.h"
#include "base/metrics.h"
#include "buffer/pool.h"

namespace larder::memory {

struct BlockKey {
  ObjectId object;
  uint64_t block = 0;  // index: offset / block size
  bool operator==(const BlockKey&) const = default;
};

struct BlockCacheOptions {
  size_t budget_bytes = 0;      // 0: nothing is kept
  size_t shards = 16;           // rounded up to a power of two
  std::string policy = "lru";   // a name evict/ knows
};

class BlockCache {
 public:
  BlockCache(const BlockCacheOptions& options, Registry& registry);
  ~BlockCache();

  // The block, or an empty ref.  Counts a use.
  buffer::BufferRef get(BlockKey key);
  // Keeps a reference to the buffer (its bytes must not change afterwards), replacing an older one; room is
  // made by evicting others first, so the budget holds at every moment.  A buffer larger than a shard's
  // share is not kept.
  void put(BlockKey key, buffer::BufferRef block);
  void erase(BlockKey key);
  // Every block of the object with index >= first_block.
  void erase_object(ObjectId object, uint64_t first_block = 0);

  size_t used_bytes() const;
  size_t budget_bytes() const;

 private:
  class Shard;
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace larder::memory
