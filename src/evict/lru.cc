#include "evict/lru.h"

#include "base/check.h"

namespace larder::evict {

void Lru::reserve(Slot slots) {
  CHECK(slots <= kAbsent);
  if (slots > links_.size()) links_.resize(slots);
}

void Lru::insert(Slot slot, const Item&) {
  CHECK(slot < links_.size() && links_[slot].previous == kAbsent);
  link_front(slot);
}

void Lru::hit(Slot slot) {
  CHECK(slot < links_.size() && links_[slot].previous != kAbsent);
  if (slot == front_) return;
  unlink(slot);
  link_front(slot);
}

void Lru::erase(Slot slot) {
  CHECK(slot < links_.size() && links_[slot].previous != kAbsent);
  unlink(slot);
  links_[slot] = Link{};
}

std::optional<Slot> Lru::victim(SlotFilter evictable) {
  for (Slot slot = back_; slot != kEnd; slot = links_[slot].previous)
    if (evictable(slot)) return slot;
  return std::nullopt;
}

void Lru::link_front(Slot slot) {
  links_[slot] = {.previous = kEnd, .next = front_};
  (front_ != kEnd ? links_[front_].previous : back_) = slot;
  front_ = slot;
}

void Lru::unlink(Slot slot) {
  const Link link = links_[slot];
  (link.previous != kEnd ? links_[link.previous].next : front_) = link.next;
  (link.next != kEnd ? links_[link.next].previous : back_) = link.previous;
}

}  // namespace larder::evict
