// What the tests of eviction policies share.
#pragma once

#include <algorithm>
#include <vector>

#include "base/random.h"
#include "evict/policy.h"

namespace larder::evict {

inline constexpr auto any_slot = [](Slot) { return true; };

// Evicts until nothing may go.
inline std::vector<Slot> drain(Policy& policy, SlotFilter evictable) {
  std::vector<Slot> order;
  while (const auto slot = policy.victim(evictable)) {
    policy.erase(*slot);
    order.push_back(*slot);
  }
  return order;
}
inline std::vector<Slot> drain(Policy& policy) {
  return drain(policy, any_slot);
}

// Items 0 ... count - 1 in their order, each with the hash of its slot.
inline void fill(Policy& policy, Slot count, uint64_t weight_bytes = 1) {
  policy.reserve(count);
  for (Slot slot = 0; slot < count; ++slot)
    policy.insert(slot, {.key_hash = mix64(slot), .weight_bytes = weight_bytes});
}

}  // namespace larder::evict
