// A small cache of a sample of the keys, to see what one way to choose victims would bring
// (Waldspurger et al., "Cache modeling and optimization using miniature simulations", 2017;
// Einziger et al., "Adaptive software cache management", 2018).  Holds up to 2,048 keys and nothing
// else, in about 50 KiB.  Not thread-safe.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "evict/segments.h"

namespace larder::evict {

class Miniature {
 public:
  static constexpr Slot kKeysMax = 2048;

  Miniature(Preference preference, const FrequencySketch& sketch, DuelOdds& odds);

  // A use of a key; whether it was here.  It comes in, and others go until the capacity holds.
  bool use(uint32_t hash, uint64_t weight, uint32_t cost_us, uint64_t capacity);
  // Something had to go, with the room there is now: from here on hits and misses tell of how
  // victims are chosen.
  bool is_full() const { return is_full_; }
  // The capacity will be much larger from here on.
  void expect_more_room() { is_full_ = false; }
  // The key's item takes another room now, if it is here.
  void resize(uint32_t hash, uint64_t weight);
  // Forgets the keys that the sample, of hashes that end in so many zeros, does not take.
  void narrow(int zeros);
  size_t size_bytes() const { return segments_.size_bytes(); }  // beside the object itself

 private:
  static constexpr size_t kBuckets = 2 * kKeysMax;
  static constexpr uint16_t kNone = UINT16_MAX;
  uint16_t& bucket_of(uint32_t hash);
  Slot find(uint32_t hash);
  void remove(Slot slot);

  Segments segments_;
  std::array<uint16_t, kBuckets> buckets_;  // heads of chains
  std::array<uint16_t, kKeysMax> next_;     // in the chain, or the next free slot
  uint16_t free_ = 0;
  bool is_full_ = false;
};

}  // namespace larder::evict
