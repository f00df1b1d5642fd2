// What came of duels: of a candidate and the item it would displace, which was used again first?
//
// A duel's outcome shows by itself, whichever of the two was kept: both keys go under observation,
// and the first to be used again has won.  (For two independent Poisson streams the odds of coming
// first are the ratio of the rates.)  So the odds that TinyLFU takes from frequencies alone are
// corrected by what was seen of duels between such frequencies, without trying bad decisions out.
//
// Bounded: 128 observations at a time, the rest of the duels go unobserved; about 7 KiB.
// Not thread-safe.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace larder::evict {

class DuelOdds {
 public:
  DuelOdds();

  // How much sooner the candidate is to be expected back than the other, by their frequencies
  // (0 to 15): above 1, the candidate comes first.
  double of(unsigned candidate, unsigned resident) const;
  // Observes a duel, if there is room, for that many uses of any items.
  void observe(uint32_t candidate_hash, unsigned candidate, uint32_t resident_hash,
               unsigned resident, uint64_t uses);
  // An item was used.
  void used(uint32_t hash);

 private:
  static constexpr size_t kDuels = 128;
  static constexpr size_t kPlaces = 1024;  // a power of two
  static constexpr size_t kClasses = 8;
  static constexpr uint8_t kNone = UINT8_MAX;
  struct Duel {
    std::array<uint32_t, 2> hashes{};  // candidate, resident
    uint64_t until = 0;                // in uses; over when 0
    uint8_t cell = 0;
  };
  using Wins = std::array<float, kClasses * kClasses>;
  static size_t cell_of(unsigned candidate, unsigned resident);
  void end(Duel& duel);
  uint8_t& place_of(uint32_t hash) { return places_[hash % kPlaces]; }

  std::array<Wins, 2> wins_;  // by candidates, by residents; older ones weigh less
  std::array<Duel, kDuels> duels_;
  std::array<uint8_t, kPlaces> places_;  // the duel with a key of that hash
  size_t next_ = 0;
  uint64_t uses_ = 0;
};

}  // namespace larder::evict
