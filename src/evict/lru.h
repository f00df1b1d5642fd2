// Least recently used: the item whose last insert or hit is the longest ago goes first.  Exact.
// 8 bytes a slot; every operation is O(1).
//
// Invariant: the slots in the policy form one doubly linked list, the most recently used at the
// front.
#pragma once

#include "base/paged_array.h"
#include "evict/policy.h"
#include "evict/slot_list.h"

namespace larder::evict {

class Lru final : public Policy {
 public:
  void reserve(Slot slots) override;
  void insert(Slot slot, const Item& item) override;
  void hit(Slot slot) override;
  void erase(Slot slot) override;
  std::optional<Slot> victim(SlotFilter evictable) override;

 private:
  static constexpr Slot kEnd = SlotList::kEnd;
  static constexpr Slot kAbsent = kEnd - 1;  // as `previous`: not in the policy
  struct Link {
    Slot previous = kAbsent;
    Slot next = kEnd;
  };

  PagedArray<Link, 512> links_;
  SlotList list_;
};

}  // namespace larder::evict
