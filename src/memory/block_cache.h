// The memory tier: hot blocks of objects in pooled buffers, within a byte budget, in independently
// locked shards.  Thread-safe; a hit allocates nothing.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/clock.h"
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
  size_t budget_bytes = 0;  // 0: nothing is kept
  size_t shards = 16;  // rounded up to a power of two; fewer when a share would be below kShareMin
  std::string policy = "lru";  // a name evict/registry.h knows; it is checked, not reported
};

class BlockCache {
 public:
  // A shard's share of the budget holds at least a few of the largest buffers, if the budget does.
  static constexpr size_t kShareMin = 4 * buffer::Pool::kSizeMax;

  BlockCache(const BlockCacheOptions& options, Registry& registry,
             const Clock& clock = Clock::system());
  ~BlockCache();
  BlockCache(const BlockCache&) = delete;
  BlockCache& operator=(const BlockCache&) = delete;

  // The block, or an empty ref.  Counts a use.
  buffer::BufferRef get(BlockKey key);
  // Keeps a reference to the buffer (its bytes must not change afterwards), replacing an older one;
  // room is made by evicting others first, so the budget holds at every moment.  A buffer larger
  // than a shard's share is not kept.
  void put(BlockKey key, buffer::BufferRef block);
  void erase(BlockKey key);
  // Every block of the object with index >= first_block.  Costs a step per cached block of the
  // object.
  void erase_object(ObjectId object, uint64_t first_block = 0);

  // The kept buffers' whole sizes; never more than the budget.
  size_t used_bytes() const;
  size_t budget_bytes() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace larder::memory
