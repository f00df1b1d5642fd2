#include "evict/duel_odds.h"

#include <algorithm>

namespace larder::evict {

namespace {

constexpr float kDecay = 0.98F;       // of a cell's older wins, at each outcome
constexpr double kPriorWins = 32;     // what the frequencies alone say weighs as much as these
constexpr double kPriorOfTie = 0.45;  // equal frequencies: rather keep what is there
constexpr size_t kTries = 8;

}  // namespace

DuelOdds::DuelOdds() {
  wins_[0].fill(0);
  wins_[1].fill(0);
  places_.fill(kNone);
}

double DuelOdds::of(unsigned candidate, unsigned resident) const {
  const size_t cell = cell_of(candidate, resident);
  const double c = std::max(candidate, 1U);
  const double r = std::max(resident, 1U);
  const double prior = kPriorWins * (candidate == resident ? kPriorOfTie : c / (c + r));
  return (wins_[0][cell] + prior) / (wins_[1][cell] + kPriorWins - prior);
}

void DuelOdds::observe(uint32_t candidate_hash, unsigned candidate, uint32_t resident_hash,
                       unsigned resident, uint64_t uses) {
  for (size_t tries = 0; tries < kTries; ++tries) {
    Duel& duel = duels_[next_];
    const auto index = static_cast<uint8_t>(next_);
    if (duel.until > uses_) {
      next_ = (next_ + 1) % kDuels;
      continue;
    }
    if (duel.until != 0) end(duel);
    if (place_of(candidate_hash) != kNone || place_of(resident_hash) != kNone ||
        candidate_hash % kPlaces == resident_hash % kPlaces)
      return;
    duel = {.hashes = {candidate_hash, resident_hash},
            .until = uses_ + uses,
            .cell = static_cast<uint8_t>(cell_of(candidate, resident))};
    place_of(candidate_hash) = place_of(resident_hash) = index;
    next_ = (next_ + 1) % kDuels;
    return;
  }
}

void DuelOdds::used(uint32_t hash) {
  ++uses_;
  const uint8_t index = place_of(hash);
  if (index == kNone) return;
  Duel& duel = duels_[index];
  for (size_t side = 0; side < 2; ++side) {
    if (duel.hashes[side] != hash) continue;
    for (Wins& wins : wins_) wins[duel.cell] *= kDecay;
    if (duel.until > uses_) wins_[side][duel.cell] += 1;
    end(duel);
    return;
  }
}

void DuelOdds::end(Duel& duel) {
  for (const uint32_t hash : duel.hashes) place_of(hash) = kNone;
  duel.until = 0;
}

// 0, 1, 2, 3, 4-5, 6-8, 9-12, 13-15.
size_t DuelOdds::cell_of(unsigned candidate, unsigned resident) {
  static constexpr std::array<uint8_t, 16> kClass{0, 1, 2, 3, 4, 4, 5, 5, 5, 6, 6, 6, 6, 7, 7, 7};
  return kClass[candidate] * kClasses + kClass[resident];
}

}  // namespace larder::evict
