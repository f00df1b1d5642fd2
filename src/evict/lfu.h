// Least frequently used with dynamic ageing (LFU-DA: Arlitt et al., "Evaluating content management
// techniques for Web proxy caches", 2000).  An item's priority is its number of uses plus the
// policy's age at its last use; the lowest goes first, among equals the one used longest ago.  When
// an item is evicted, its priority becomes the age: what was used often, but long ago, is overtaken
// and goes.  Uses count up to 255.
//
// Exact; every operation is O(1), plus a step for each slot the filter passes over.  10 bytes a
// slot.
//
// Invariants
//   - The slots in the policy are in 256 lists, by priority modulo 256; in each the most recently
//     used is at the front.  A bit tells whether a list has any.
//   - All priorities are within age_ ... age_ + 255, so a list holds one priority.
#pragma once

#include <array>

#include "base/paged_array.h"
#include "evict/policy.h"
#include "evict/slot_list.h"

namespace larder::evict {

class Lfu final : public Policy {
 public:
  void reserve(Slot slots) override;
  void insert(Slot slot, const Item& item) override;
  void hit(Slot slot) override;
  void erase(Slot slot) override;
  std::optional<Slot> victim(SlotFilter evictable) override;

 private:
  static constexpr Slot kEnd = SlotList::kEnd;
  static constexpr Slot kAbsent = kEnd - 1;  // as `previous`: not in the policy
  static constexpr uint8_t kUsesMax = 255;
  static constexpr size_t kLists = 256;
  struct Link {
    Slot previous = kAbsent;
    Slot next = kEnd;
  };
  struct Use {
    uint8_t uses = 0;
    uint8_t list = 0;  // priority modulo kLists
  };
  void link(Slot slot);
  void unlink(Slot slot);
  // The first list with a slot from the one `distance` above the age's on, as a distance from the
  // age; kLists when there is none.
  size_t occupied_from(size_t distance) const;

  PagedArray<Link, 512> links_;
  PagedArray<Use, 512> uses_;
  std::array<SlotList, kLists> lists_;
  std::array<uint64_t, kLists / 64> occupied_{};
  uint8_t age_ = 0;    // modulo kLists: only differences to it matter
  Slot named_ = kEnd;  // what victim() said last: when that is erased, it was evicted
};

}  // namespace larder::evict
