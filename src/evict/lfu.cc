#include "evict/lfu.h"

#include <algorithm>
#include <bit>

#include "base/check.h"

namespace larder::evict {

void Lfu::reserve(Slot slots) {
  CHECK(slots <= kAbsent);
  if (slots <= links_.size()) return;
  links_.resize(slots);
  uses_.resize(slots);
}

void Lfu::insert(Slot slot, const Item&) {
  CHECK(slot < links_.size() && links_[slot].previous == kAbsent);
  uses_[slot].uses = 1;
  link(slot);
}

void Lfu::hit(Slot slot) {
  CHECK(slot < links_.size() && links_[slot].previous != kAbsent);
  unlink(slot);
  if (uses_[slot].uses < kUsesMax) ++uses_[slot].uses;
  link(slot);
}

void Lfu::erase(Slot slot) {
  CHECK(slot < links_.size() && links_[slot].previous != kAbsent);
  if (slot == named_) {
    // Not beyond what the filter passed over: that is still here, with its priority.
    const auto priority = static_cast<uint8_t>(uses_[slot].list - age_);
    age_ = static_cast<uint8_t>(age_ + std::min<size_t>(priority, occupied_from(0)));
    named_ = kEnd;
  }
  unlink(slot);
  links_[slot] = Link{};
}

std::optional<Slot> Lfu::victim(SlotFilter evictable) {
  for (size_t at = occupied_from(0); at < kLists; at = occupied_from(at + 1)) {
    const auto list = static_cast<uint8_t>(age_ + at);
    if (const Slot slot = lists_[list].last(links_, evictable); slot != kEnd) return named_ = slot;
  }
  return std::nullopt;
}

void Lfu::link(Slot slot) {
  const auto list = static_cast<uint8_t>(age_ + uses_[slot].uses);
  uses_[slot].list = list;
  lists_[list].push_front(links_, slot);
  occupied_[list / 64] |= uint64_t{1} << list % 64;
}

void Lfu::unlink(Slot slot) {
  const uint8_t list = uses_[slot].list;
  lists_[list].remove(links_, slot);
  if (lists_[list].front == kEnd) occupied_[list / 64] &= ~(uint64_t{1} << list % 64);
}

size_t Lfu::occupied_from(size_t distance) const {
  while (distance < kLists) {
    const auto list = static_cast<uint8_t>(age_ + distance);
    const uint64_t bits = occupied_[list / 64] >> list % 64;
    if (bits != 0) {
      const auto gap = static_cast<size_t>(std::countr_zero(bits));
      return distance + gap < kLists ? distance + gap : kLists;
    }
    distance += 64 - list % 64;
  }
  return kLists;
}

}  // namespace larder::evict
