#include "evict/lru.h"

#include "base/check.h"

namespace larder::evict {

void Lru::reserve(Slot slots) {
  CHECK(slots <= kAbsent);
  if (slots > links_.size()) links_.resize(slots);
}

void Lru::insert(Slot slot, const Item&) {
  CHECK(slot < links_.size() && links_[slot].previous == kAbsent);
  list_.push_front(links_, slot);
}

void Lru::hit(Slot slot) {
  CHECK(slot < links_.size() && links_[slot].previous != kAbsent);
  list_.move_to_front(links_, slot);
}

void Lru::erase(Slot slot) {
  CHECK(slot < links_.size() && links_[slot].previous != kAbsent);
  list_.remove(links_, slot);
  links_[slot] = Link{};
}

std::optional<Slot> Lru::victim(SlotFilter evictable) {
  const Slot slot = list_.last(links_, evictable);
  return slot != kEnd ? std::optional(slot) : std::nullopt;
}

}  // namespace larder::evict
