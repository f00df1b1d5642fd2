#include "evict/hybrid.h"

#include <algorithm>
#include <bit>

#include "base/check.h"

namespace larder::evict {

namespace {

constexpr size_t kSampleItems = 1024;  // half of what a miniature holds: light items need more
constexpr double kFillingShare = 0.3;  // of their size, while the cache fills
constexpr int kLeadToTurn = 64;

uint32_t short_hash(uint64_t hash) {
  return static_cast<uint32_t>(hash >> 32);
}

}  // namespace

void Hybrid::reserve(Slot slots) {
  segments_.reserve(slots);
  sketch_.reserve(slots);
}

void Hybrid::insert(Slot slot, const Item& item) {
  const uint32_t hash = short_hash(item.key_hash);
  segments_.insert(slot, hash, item.weight_bytes, item.cost_us);
  Share& share = sample_[static_cast<size_t>(std::countr_zero(hash))];
  share.weight += segments_.weight_of(slot);
  ++share.items;
  used(hash, segments_.weight_of(slot), item.cost_us);
}

void Hybrid::hit(Slot slot) {
  segments_.hit(slot);
  used(segments_.hash_of(slot), segments_.weight_of(slot), 0);
}

void Hybrid::resize(Slot slot, uint64_t weight_bytes) {
  CHECK(segments_.contains(slot));
  const uint32_t hash = segments_.hash_of(slot);
  Share& share = sample_[static_cast<size_t>(std::countr_zero(hash))];
  share.weight -= segments_.weight_of(slot);
  segments_.resize(slot, weight_bytes);
  share.weight += segments_.weight_of(slot);
  if (!is_sampled(hash)) return;
  frequency_.resize(hash, weight_bytes);
  recency_.resize(hash, weight_bytes);
}

void Hybrid::erase(Slot slot) {
  CHECK(segments_.contains(slot));
  Share& share = sample_[static_cast<size_t>(std::countr_zero(segments_.hash_of(slot)))];
  share.weight -= segments_.weight_of(slot);
  --share.items;
  segments_.erase(slot);
}

std::optional<Slot> Hybrid::victim(SlotFilter evictable) {
  has_filled_ = true;
  return segments_.victim(preference_, true, evictable);
}

bool Hybrid::is_sampled(uint32_t hash) const {
  return std::countr_zero(hash) >= sample_zeros_;
}

Hybrid::Share Hybrid::sampled() const {
  Share sum;
  for (size_t zeros = static_cast<size_t>(sample_zeros_); zeros <= kZerosMax; ++zeros) {
    sum.weight += sample_[zeros].weight;
    sum.items += sample_[zeros].items;
  }
  return sum;
}

void Hybrid::used(uint32_t hash, uint64_t weight, uint32_t cost_us) {
  sketch_.add(hash);
  odds_.used(hash);
  if (is_sampled(hash)) compare(hash, weight, cost_us);
}

void Hybrid::compare(uint32_t hash, uint64_t weight, uint32_t cost_us) {
  Share share = sampled();
  while (share.items > kSampleItems) {
    ++sample_zeros_;
    frequency_.narrow(sample_zeros_);
    recency_.narrow(sample_zeros_);
    share = sampled();
    if (!is_sampled(hash)) return;
  }
  const auto capacity =
      static_cast<uint64_t>(static_cast<double>(share.weight) * (has_filled_ ? 1 : kFillingShare));
  const bool by_recency = recency_.use(hash, weight, cost_us, capacity);
  const bool by_frequency = frequency_.use(hash, weight, cost_us, capacity);
  lead_ = std::clamp(lead_ + by_recency - by_frequency, -kLeadToTurn, kLeadToTurn);
  if (lead_ == kLeadToTurn) preference_ = Preference::kRecency;
  if (lead_ == -kLeadToTurn) preference_ = Preference::kFrequency;
}

}  // namespace larder::evict
