#include "evict/hybrid.h"

#include <algorithm>
#include <bit>

#include "base/check.h"

namespace larder::evict {

namespace {

constexpr int64_t kSampleItems = 1024;  // half of what a miniature holds: light items need more
constexpr double kFillingShare = 0.4;   // of their size, while the cache fills
// Of one miniature over the other, in hits.  What was long ahead is not given up for a moment's
// sake; what was ahead while the cache filled, with less room, says less.
constexpr int kLeadToTurn = 20;
constexpr int kLeadMax = 320;
constexpr int kFillingLeadMax = 40;
// Learning is bounded by what there is to gain, which is misses: so many hits are learnt from for
// each, in the long run.
constexpr uint32_t kHitsPerMiss = 32;
constexpr uint32_t kHitsMax = 64 * kHitsPerMiss;

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
  account(hash, segments_.weight_of(slot), 1);
  hits_to_learn_from_ = std::min(hits_to_learn_from_ + kHitsPerMiss, kHitsMax);
  odds_.used(hash);
  learn(slot, hash, item.cost_us);
}

void Hybrid::hit(Slot slot) {
  segments_.hit(slot);
  const uint32_t hash = segments_.hash_of(slot);
  odds_.used(hash);
  if (hits_to_learn_from_ == 0) return;
  --hits_to_learn_from_;
  learn(slot, hash, 0);
}

void Hybrid::resize(Slot slot, uint64_t weight_bytes) {
  CHECK(segments_.contains(slot));
  const uint32_t hash = segments_.hash_of(slot);
  const uint64_t before = segments_.weight_of(slot);
  segments_.resize(slot, weight_bytes);
  account(hash, segments_.weight_of(slot) - before, 0);
  if (!is_sampled(hash)) return;
  frequency_.resize(hash, weight_bytes);
  recency_.resize(hash, weight_bytes);
}

void Hybrid::erase(Slot slot) {
  CHECK(segments_.contains(slot));
  account(segments_.hash_of(slot), 0 - segments_.weight_of(slot), -1);
  segments_.erase(slot);
}

std::optional<Slot> Hybrid::victim(SlotFilter evictable) {
  if (!has_filled_) {
    has_filled_ = true;
    frequency_.expect_more_room();
    recency_.expect_more_room();
  }
  return segments_.victim(true, evictable);
}

size_t Hybrid::size_bytes() const {
  return sizeof(*this) + segments_.size_bytes() + sketch_.size_bytes() + frequency_.size_bytes() +
         recency_.size_bytes();
}

bool Hybrid::is_sampled(uint32_t hash) const {
  return std::countr_zero(hash) >= sample_zeros_;
}

void Hybrid::account(uint32_t hash, uint64_t weight, int items) {
  by_zeros_[static_cast<size_t>(std::countr_zero(hash))].add(weight, items);
  if (is_sampled(hash)) sample_.add(weight, items);
}

void Hybrid::narrow() {
  const Share& leaves = by_zeros_[static_cast<size_t>(sample_zeros_)];
  sample_.weight -= leaves.weight;
  sample_.items -= leaves.items;
  ++sample_zeros_;
  frequency_.narrow(sample_zeros_);
  recency_.narrow(sample_zeros_);
}

void Hybrid::learn(Slot slot, uint32_t hash, uint32_t cost_us) {
  sketch_.add(hash);
  if (is_sampled(hash)) compare(hash, segments_.weight_of(slot), cost_us);
}

void Hybrid::compare(uint32_t hash, uint64_t weight, uint32_t cost_us) {
  while (sample_.items > kSampleItems) narrow();
  if (!is_sampled(hash)) return;
  const auto capacity = static_cast<uint64_t>(static_cast<double>(sample_.weight) *
                                              (has_filled_ ? 1 : kFillingShare));
  const bool by_recency = recency_.use(hash, weight, cost_us, capacity);
  const bool by_frequency = frequency_.use(hash, weight, cost_us, capacity);
  if (!recency_.is_full() || !frequency_.is_full()) return;  // anything would be a hit
  const int lead_max = has_filled_ ? kLeadMax : kFillingLeadMax;
  lead_ = std::clamp(lead_ + by_recency - by_frequency, -lead_max, lead_max);
  if (lead_ >= kLeadToTurn) segments_.prefer(Preference::kRecency);
  if (lead_ <= -kLeadToTurn) segments_.prefer(Preference::kFrequency);
}

}  // namespace larder::evict
