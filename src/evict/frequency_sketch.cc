#include "evict/frequency_sketch.h"

#include <algorithm>
#include <bit>

#include "base/checksum.h"

namespace larder::evict {

namespace {

constexpr size_t kWideItems = 65'536;   // items with a word each
constexpr size_t kNarrow = 4;           // beyond: as many share one
constexpr uint64_t kSampleFactor = 10;  // adds between halvings, per word: of Caffeine

}  // namespace

void FrequencySketch::reserve(size_t items) {
  const size_t words = items <= kWideItems ? items : std::max(kWideItems, items / kNarrow);
  const size_t lines = std::bit_ceil(std::max<size_t>(words / kWords, 1));
  while (lines_.size() < lines) {
    const size_t old = lines_.size();
    lines_.resize(std::max<size_t>(2 * old, 1));
    // A key's line is chosen by the low bits of its hash: it is the old one, or its copy.
    for (size_t i = old; i < lines_.size(); ++i) lines_[i] = old > 0 ? lines_[i - old] : Line{};
    adds_ *= 2;
  }
}

void FrequencySketch::add(uint32_t hash) {
  const uint64_t mixed = mix64(hash);
  Line& line = lines_[line_of(mixed)];
  bool added = false;
  for (size_t row = 0; row < kRows; ++row) {
    const Place place = place_of(mixed, row);
    if ((line[place.word] >> place.shift & kMax) == kMax) continue;
    line[place.word] += uint64_t{1} << place.shift;
    added = true;
  }
  if (added && ++adds_ >= kSampleFactor * kWords * lines_.size()) halve();
}

unsigned FrequencySketch::estimate(uint32_t hash) const {
  const uint64_t mixed = mix64(hash);
  const Line& line = lines_[line_of(mixed)];
  uint64_t least = kMax;
  for (size_t row = 0; row < kRows; ++row) {
    const Place place = place_of(mixed, row);
    least = std::min(least, line[place.word] >> place.shift & kMax);
  }
  return static_cast<unsigned>(least);
}

// Five bits of the hash choose one of a row's 32 counters.
FrequencySketch::Place FrequencySketch::place_of(uint64_t mixed, size_t row) {
  const auto bits = static_cast<unsigned>(mixed >> (8 * row) & 31);
  return {.word = 2 * row + bits / 16, .shift = bits % 16 * 4};
}

void FrequencySketch::halve() {
  uint64_t odd = 0;
  for (size_t i = 0; i < lines_.size(); ++i) {
    for (uint64_t& word : lines_[i]) {
      odd += static_cast<uint64_t>(std::popcount(word & 0x1111111111111111ULL));
      word = word >> 1 & 0x7777777777777777ULL;
    }
  }
  adds_ = (adds_ - std::min(adds_, odd / kRows)) / 2;
}

}  // namespace larder::evict
