// Eviction policies: which item goes when room is needed.  One interface for both tiers; a policy
// knows nothing of blocks, files or disks.
//
// A policy works on the items of one shard, named by dense slot numbers that its user hands out:
// all state sits in arrays indexed by slot, sized by reserve(), so that no other call allocates.
// Not thread-safe: all calls are made under the shard's exclusive lock, except hit(), for which
// hit_lock() says what it needs.
//
// What is worth keeping is decided by victim() alone: a new item always comes in and, with a policy
// that admits by frequency, is itself the next to go when it is worth less than the others.
//
// A slot is either in the policy (insert ... erase) or not; victim() only names one, the user
// erases it.
#pragma once

#include <concepts>
#include <cstdint>
#include <memory>
#include <optional>

namespace larder::evict {

using Slot = uint32_t;

// What must be held, at least, to call hit().
enum class HitLock {
  kShared,     // the shard's lock, shared
  kExclusive,  // the shard's lock, exclusively
};

// What is taken for a cost that is not known.
inline constexpr uint32_t kUsualCostUs = 10'000;

struct Item {
  uint64_t key_hash = 0;      // well mixed; the same key has the same hash each time it comes in
  uint64_t weight_bytes = 0;  // the room it takes; resize() when that changes
  uint32_t now_s = 0;         // coarse time, never going back
  uint32_t expires_s = 0;     // on the same clock; 0: never
  uint32_t cost_us = 0;       // until fetching it again would begin, roughly; 0: not known
};

// Asks the user whether a slot may go now (it may be pinned, dirty, or in use).  Refers to the
// callable, which must outlive it.
class SlotFilter {
 public:
  template <std::predicate<Slot> Callable>
  // Stands for the callable.  NOLINTNEXTLINE(google-explicit-constructor)
  SlotFilter(const Callable& callable)
      : callable_(&callable), call_([](const void* self, Slot slot) {
          return static_cast<bool>((*static_cast<const Callable*>(self))(slot));
        }) {}
  bool operator()(Slot slot) const { return call_(callable_, slot); }

 private:
  const void* callable_;
  bool (*call_)(const void*, Slot);
};

class Policy {
 public:
  virtual ~Policy() = default;

  // The same in each call.
  virtual HitLock hit_lock() const { return HitLock::kExclusive; }
  // From here on slots below `slots` may be used.  Never shrinks.
  virtual void reserve(Slot slots) = 0;
  virtual void insert(Slot slot, const Item& item) = 0;
  virtual void hit(Slot slot) = 0;
  // The item in the slot takes another room now.
  virtual void resize(Slot slot, uint64_t weight_bytes) {
    (void)slot;
    (void)weight_bytes;
  }
  virtual void erase(Slot slot) = 0;
  // The slot to evict next among those the filter lets go; none when there is none.  Each slot
  // passed over costs a step: what cannot go for long is better kept out of the policy until it
  // can.
  virtual std::optional<Slot> victim(SlotFilter evictable) = 0;
  // A slot whose time is over among those the filter lets go, room needed or not; none when there
  // is none or the policy does not look at time.
  virtual std::optional<Slot> expired(uint32_t now_s, SlotFilter evictable) {
    (void)now_s;
    (void)evictable;
    return std::nullopt;
  }
};

}  // namespace larder::evict
