// Time to live: what expires next goes first; what never expires goes after that, the least
// recently used first.  Among items that expire in the same second any may go first.
//
// Insert, erase and expiry are O(log n), victim() is O(1), a hit likewise.  Each slot that a filter
// passes over costs a step.  12 bytes a slot.
//
// Invariants
//   - A slot in the policy is in the heap when it expires, else in the list.
//   - heap_[0 ... heaped_) is a binary heap of slots by expiry, and heap_[place of s] == s for each
//     of them.  A slot of the list stands nowhere in the heap; so this tells them apart, and both
//     kinds share their bytes.
#pragma once

#include "base/paged_array.h"
#include "evict/policy.h"
#include "evict/slot_list.h"

namespace larder::evict {

class Ttl final : public Policy {
 public:
  void reserve(Slot slots) override;
  void insert(Slot slot, const Item& item) override;
  void hit(Slot slot) override;
  void erase(Slot slot) override;
  std::optional<Slot> victim(SlotFilter evictable) override;
  std::optional<Slot> expired(uint32_t now_s, SlotFilter evictable) override;

  bool contains(Slot slot) const {
    return slot < nodes_.size() && (is_heaped(slot) || nodes_[slot].previous != kAbsent);
  }

 private:
  static constexpr Slot kEnd = SlotList::kEnd;
  static constexpr Slot kAbsent = kEnd - 1;  // as `previous`: not in the policy
  // Of a slot in the heap the two hold its expiry and its place there.
  struct Node {
    Slot previous = kAbsent;
    Slot next = kEnd;
    uint32_t expires_s() const { return previous; }
    Slot place() const { return next; }
  };
  bool is_heaped(Slot slot) const {
    const Slot place = nodes_[slot].place();
    return place < heaped_ && heap_[place] == slot;
  }
  uint32_t expiry_at(Slot place) const { return nodes_[heap_[place]].expires_s(); }
  // Puts the slot at the place, or where the order wants it above or below.
  void sift_up(Slot place, Slot slot);
  void sift_down(Slot place, Slot slot);
  void put(Slot place, Slot slot) {
    heap_[place] = slot;
    nodes_[slot].next = place;
  }
  // The place of the earliest expiry not after `last_s` that the filter lets go; kEnd: none.
  Slot earliest(uint32_t last_s, SlotFilter evictable) const;

  PagedArray<Node, 512> nodes_;
  PagedArray<Slot, 512> heap_;
  Slot heaped_ = 0;
  SlotList list_;
};

}  // namespace larder::evict
