// One shard of the memory tier: a hash table of blocks with its own lock, budget and eviction
// policy.
//
// Invariants (under the lock)
//  - A slot is free (no block; in the free list) or used (a block; in one key chain, one object
//  chain, and the
//    policy).
//  - used_bytes_ is the sum of the used slots' weights, and never more than budget_bytes_.
//  - There are as many buckets as slots (a power of two), so chains of keys stay short; the object
//  chain of a
//    bucket holds the blocks of the few objects that hash there.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/mutex.h"
#include "evict/policy.h"
#include "memory/block_cache.h"

namespace larder::memory {

// Thread-safe.
class alignas(64) Shard {
 public:
  struct PutOutcome {
    bool kept = false;            // the new block
    uint64_t replaced_bytes = 0;  // of its older version
    uint64_t evicted_bytes = 0;   // of others
  };

  Shard(size_t budget_bytes, std::unique_ptr<evict::Policy> policy);

  // `hash` is that of the key, and the same in each call for the same key.
  buffer::BufferRef get(BlockKey key, uint64_t hash);
  PutOutcome put(BlockKey key, uint64_t hash, buffer::BufferRef block, uint32_t now_s);
  // Return the bytes erased.
  uint64_t erase(BlockKey key, uint64_t hash);
  uint64_t erase_object(ObjectId object, uint64_t first_block);
  size_t used_bytes() const { return used_bytes_.load(std::memory_order_relaxed); }

 private:
  using Slot = evict::Slot;
  static constexpr Slot kNone = UINT32_MAX;

  struct Entry {
    BlockKey key;
    buffer::BufferRef block;
    Slot next_by_key = kNone;  // of a free slot: the next free one
    Slot next_of_object = kNone;
    Slot previous_of_object = kNone;
    uint32_t weight_bytes = 0;
  };

  static uint64_t object_hash(ObjectId object) { return mix64(object.value); }
  size_t bucket_of(uint64_t hash) const REQUIRES_SHARED(mutex_) {
    return hash & (by_key_.size() - 1);
  }
  Slot find(BlockKey key, uint64_t hash) const REQUIRES_SHARED(mutex_);
  buffer::BufferRef use(BlockKey key, uint64_t hash) REQUIRES_SHARED(mutex_);
  // Returns the slot's weight.
  uint64_t remove(Slot slot) REQUIRES(mutex_);
  void chain(Slot slot, uint64_t hash) REQUIRES(mutex_);
  void unchain(Slot slot, uint64_t hash) REQUIRES(mutex_);
  Slot take_free_slot() REQUIRES(mutex_);
  void grow() REQUIRES(mutex_);

  const size_t budget_bytes_;
  const std::unique_ptr<evict::Policy> policy_;  // hit() locks as it says, all else under mutex_
  const bool hit_is_exclusive_;
  SharedMutex mutex_;
  std::vector<Entry> entries_ GUARDED_BY(mutex_);
  std::vector<Slot> by_key_ GUARDED_BY(mutex_);     // heads of key chains
  std::vector<Slot> by_object_ GUARDED_BY(mutex_);  // heads of object chains
  Slot free_ GUARDED_BY(mutex_) = kNone;
  std::atomic<size_t> used_bytes_{0};  // written under mutex_
};

uint64_t hash_of(BlockKey key);

}  // namespace larder::memory
