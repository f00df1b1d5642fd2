#include "evict/ttl.h"

#include "base/check.h"

namespace larder::evict {

void Ttl::reserve(Slot slots) {
  CHECK(slots <= kAbsent);
  if (slots <= nodes_.size()) return;
  nodes_.resize(slots);
  heap_.resize(slots);
}

void Ttl::insert(Slot slot, const Item& item) {
  CHECK(slot < nodes_.size() && !contains(slot));
  if (item.expires_s == 0) {
    list_.push_front(nodes_, slot);
  } else {
    nodes_[slot].previous = item.expires_s;
    sift_up(heaped_++, slot);
  }
}

void Ttl::hit(Slot slot) {
  CHECK(contains(slot));
  if (!is_heaped(slot)) list_.move_to_front(nodes_, slot);
}

void Ttl::erase(Slot slot) {
  CHECK(contains(slot));
  if (is_heaped(slot)) {
    const Slot place = nodes_[slot].place();
    const Slot last = heap_[--heaped_];
    if (last != slot) {
      const bool rises = nodes_[last].expires_s() < nodes_[slot].expires_s();
      rises ? sift_up(place, last) : sift_down(place, last);
    }
  } else {
    list_.remove(nodes_, slot);
  }
  nodes_[slot] = Node{};
}

std::optional<Slot> Ttl::victim(SlotFilter evictable) {
  if (const Slot place = earliest(UINT32_MAX, evictable); place != kEnd) return heap_[place];
  const Slot slot = list_.last(nodes_, evictable);
  return slot != kEnd ? std::optional(slot) : std::nullopt;
}

std::optional<Slot> Ttl::expired(uint32_t now_s, SlotFilter evictable) {
  const Slot place = earliest(now_s, evictable);
  return place != kEnd ? std::optional(heap_[place]) : std::nullopt;
}

// Depth first, without a stack: children of i are 2i + 1 and 2i + 2.  Below a place that may go, or
// that is later than the best one found, nothing is earlier.
Slot Ttl::earliest(uint32_t last_s, SlotFilter evictable) const {
  Slot best = kEnd;
  Slot at = 0;
  while (at < heaped_) {
    bool descend = expiry_at(at) <= last_s && (best == kEnd || expiry_at(at) < expiry_at(best));
    if (descend && evictable(heap_[at])) {
      best = at;
      descend = false;
    }
    if (descend && uint64_t{2} * at + 1 < heaped_) {
      at = 2 * at + 1;
      continue;
    }
    // The next one to the right, or that of the nearest ancestor which has one.
    while (at != 0 && (at % 2 == 0 || at + 1 >= heaped_)) at = (at - 1) / 2;
    if (at == 0) break;
    ++at;
  }
  return best;
}

void Ttl::sift_up(Slot place, Slot slot) {
  while (place > 0 && nodes_[slot].expires_s() < expiry_at((place - 1) / 2)) {
    put(place, heap_[(place - 1) / 2]);
    place = (place - 1) / 2;
  }
  put(place, slot);
}

void Ttl::sift_down(Slot place, Slot slot) {
  for (;;) {
    uint64_t child = uint64_t{2} * place + 1;
    if (child >= heaped_) break;
    if (child + 1 < heaped_ &&
        expiry_at(static_cast<Slot>(child + 1)) < expiry_at(static_cast<Slot>(child)))
      ++child;
    if (nodes_[slot].expires_s() <= expiry_at(static_cast<Slot>(child))) break;
    put(place, heap_[static_cast<Slot>(child)]);
    place = static_cast<Slot>(child);
  }
  put(place, slot);
}

}  // namespace larder::evict
