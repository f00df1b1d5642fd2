// Residents: which objects take how much of the cache disk, and which goes next when room is
// needed.
//
// Counts the bytes of all objects against `size=`.  reserve() makes room before a block is
// admitted, by evicting whole objects in the policy's order, so the limit holds at every moment;
// when nothing may go it refuses and the caller goes round the cache.
//
// Costs about 30 bytes a cached file.  Files cached in earlier runs become known through a census
// that runs after the mount answers (no walk at mount); until it ends they are neither counted nor
// evicted.
//
// Invariants
//   - used_bytes_ is the sum of the entries' bytes, plus what is reserved and neither charged nor
//     cancelled yet.
//   - An entry is in slots_ and in the policy, or in neither.
// Thread-safe.  mutex_ is held for memory operations only, never across the eviction itself; all
// but reserve() and trim() may be called under a file's lock.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "base/metrics.h"
#include "base/mutex.h"
#include "evict/policy.h"

namespace larder::cache {

class Residents {
 public:
  // Frees the node's object and forgets it here; false when it is in use and must stay.  Called
  // without locks held, from any thread.
  using Evict = std::function<bool(NodeId)>;

  Residents(std::unique_ptr<evict::Policy> policy, uint64_t limit_bytes, Registry& registry,
            const Clock& clock);

  // Must be set before the first reserve().
  void set_evict(Evict evict) { evict_ = std::move(evict); }

  // Makes room for `bytes` of the node's object, without evicting it.  False: no room to be had.
  bool reserve(NodeId node, uint64_t bytes);
  // What was reserved is the node's own from now on, or is not needed after all.
  void charge(NodeId node, uint64_t bytes);
  void cancel(uint64_t bytes);
  // Gives back what the node holds.
  void release(NodeId node, uint64_t bytes);
  // The node's object is gone; returns the bytes it held.
  uint64_t forget(NodeId node);
  // Notes a use.
  void touch(NodeId node);
  // A file cached in an earlier run: from the census, in order of last use, or because it is used
  // now.  Ignored when known already.
  void introduce(NodeId node, uint64_t bytes);
  // Evicts until the limit holds: needed after a census that found more than it allows.
  void trim() { make_room(NodeId{}, 0); }
  // After the census: what was used since the mount is younger than what was introduced.
  void end_census();

  uint64_t used_bytes() const { return used_bytes_.load(std::memory_order_relaxed); }
  uint64_t limit_bytes() const { return limit_bytes_; }
  size_t count() const;

 private:
  struct Entry {
    NodeId node;
    uint64_t bytes = 0;
  };
  evict::Slot slot_of(NodeId node) REQUIRES(mutex_);
  bool make_room(NodeId for_node, uint64_t bytes);

  const uint64_t limit_bytes_;
  const Clock& clock_;
  Evict evict_;
  Counter& evictions_;
  Counter& evicted_bytes_;
  Counter& refused_;
  std::atomic<uint64_t> used_bytes_{0};

  mutable Mutex mutex_;
  const std::unique_ptr<evict::Policy> policy_ PT_GUARDED_BY(mutex_);
  std::vector<Entry> slots_ GUARDED_BY(mutex_);
  std::vector<evict::Slot> free_ GUARDED_BY(mutex_);
  std::unordered_map<NodeId, evict::Slot> by_node_ GUARDED_BY(mutex_);
  std::vector<NodeId> used_since_mount_ GUARDED_BY(mutex_);
  bool census_done_ GUARDED_BY(mutex_) = false;
};

}  // namespace larder::cache
