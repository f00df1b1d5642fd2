#include "evict/miniature.h"

#include <bit>

#include "base/check.h"

namespace larder::evict {

Miniature::Miniature(Preference preference, const FrequencySketch& sketch, DuelOdds& odds)
    : segments_(sketch, odds) {
  segments_.prefer(preference);
  segments_.reserve(kKeysMax);
  buckets_.fill(kNone);
  for (Slot slot = 0; slot < kKeysMax; ++slot)
    next_[slot] = slot + 1 < kKeysMax ? static_cast<uint16_t>(slot + 1) : kNone;
}

bool Miniature::use(uint32_t hash, uint64_t weight, uint32_t cost_us, uint64_t capacity) {
  const Slot known = find(hash);
  if (known != kNone) {
    segments_.hit(known);
    return true;
  }
  while (free_ == kNone || (segments_.count() > 0 && segments_.weight() + weight > capacity)) {
    const auto victim = segments_.victim(false, [](Slot) { return true; });
    CHECK(victim.has_value());
    remove(*victim);
    is_full_ = true;
  }
  const uint16_t slot = free_;
  free_ = next_[slot];
  next_[slot] = bucket_of(hash);
  bucket_of(hash) = slot;
  segments_.insert(slot, hash, weight, cost_us);
  return false;
}

void Miniature::resize(uint32_t hash, uint64_t weight) {
  if (const Slot slot = find(hash); slot != kNone) segments_.resize(slot, weight);
}

void Miniature::narrow(int zeros) {
  for (Slot slot = 0; slot < kKeysMax; ++slot)
    if (segments_.contains(slot) && std::countr_zero(segments_.hash_of(slot)) < zeros) remove(slot);
}

uint16_t& Miniature::bucket_of(uint32_t hash) {
  // The lowest bits are alike in a sample.
  return buckets_[(hash >> 16 ^ hash >> 4) % kBuckets];
}

Slot Miniature::find(uint32_t hash) {
  uint16_t slot = bucket_of(hash);
  while (slot != kNone && segments_.hash_of(slot) != hash) slot = next_[slot];
  return slot;
}

void Miniature::remove(Slot slot) {
  uint16_t* link = &bucket_of(segments_.hash_of(slot));
  while (*link != slot) link = &next_[*link];
  *link = next_[slot];
  segments_.erase(slot);
  next_[slot] = free_;
  free_ = static_cast<uint16_t>(slot);
}

}  // namespace larder::evict
