// W-TinyLFU (Einziger, Friedman, Manes, "TinyLFU: A highly efficient cache admission policy", 2017)
// that weighs size and refetch cost, learns from its duels, and turns to recency where that serves
// better: scans and loops pass by without sweeping out what is used often, and where popularity
// moves it is as good as LRU.
//
// Which way victims are chosen (Segments) is decided by two miniatures, one for each way, on the
// same sample of the keys: the one whose hits are ahead by enough is followed.  While the cache
// fills for the first time they are smaller still, so that they have made up their mind by the time
// the first item has to go.
//
// Where nearly all uses are hits there is little to learn, and most of them are not learnt from: so
// a hit costs little more than with LRU.
//
// 18 bytes a slot, and at most 140 KiB.  Allocates in reserve() only.
//
// Invariants
//   - by_zeros_ adds up the items by the number of zeros their hashes end in; sample_ is the sum of
//     those that end in sample_zeros_ or more.
//   - The miniatures hold keys only whose hash ends in sample_zeros_ zeros.
#pragma once

#include <array>

#include "evict/duel_odds.h"
#include "evict/frequency_sketch.h"
#include "evict/miniature.h"
#include "evict/policy.h"
#include "evict/segments.h"

namespace larder::evict {

class Hybrid final : public Policy {
 public:
  void reserve(Slot slots) override;
  void insert(Slot slot, const Item& item) override;
  void hit(Slot slot) override;
  void resize(Slot slot, uint64_t weight_bytes) override;
  void erase(Slot slot) override;
  std::optional<Slot> victim(SlotFilter evictable) override;

  // All of it.
  size_t size_bytes() const;

 private:
  struct Share {
    uint64_t weight = 0;
    int64_t items = 0;
    // Weights wrap around: adding 0 - weight takes it away.
    void add(uint64_t more_weight, int more_items) {
      weight += more_weight;
      items += more_items;
    }
  };
  static constexpr size_t kZerosMax = 32;

  bool is_sampled(uint32_t hash) const;
  // An item came, went (less than nothing) or changed its weight.
  void account(uint32_t hash, uint64_t weight, int items);
  // Takes half of the keys out of the sample.
  void narrow();
  // From a use of an item.
  void learn(Slot slot, uint32_t hash, uint32_t cost_us);
  void compare(uint32_t hash, uint64_t weight, uint32_t cost_us);

  FrequencySketch sketch_;
  DuelOdds odds_;
  Segments segments_{sketch_, odds_};
  Miniature frequency_{Preference::kFrequency, sketch_, odds_};
  Miniature recency_{Preference::kRecency, sketch_, odds_};
  std::array<Share, kZerosMax + 1> by_zeros_{};
  Share sample_;
  int sample_zeros_ = 0;
  int lead_ = 0;  // of recency, in hits of the sample
  uint32_t hits_to_learn_from_ = 0;
  bool has_filled_ = false;  // something had to go
};

}  // namespace larder::evict
