#include "evict/frequency_sketch.h"

#include <algorithm>
#include <bit>

#include "base/checksum.h"

namespace larder::evict {

namespace {

constexpr size_t kWideItems = 4'096;    // items with a word each: 32 KiB at most
constexpr size_t kNarrow = 4;           // of many items, as many share one
constexpr uint64_t kSampleFactor = 10;  // adds between halvings, per word: of Caffeine

}  // namespace

void FrequencySketch::reserve(size_t items) {
  const size_t words = items <= kWideItems ? items : std::max(kWideItems, items / kNarrow);
  const size_t before = lines_.size();
  const size_t after = std::max<size_t>(words / kWords, 1);
  if (after <= before) return;
  lines_.resize(after);
  mask_ = std::bit_ceil(after) - 1;
  if (before == 0) return;
  // A key's line is the one it had, or that one's copy.
  for (size_t i = before; i < after; ++i) lines_[i] = lines_[i & (std::bit_ceil(i + 1) / 2 - 1)];
  adds_ += adds_ * (after - before) / before;
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

size_t FrequencySketch::line_of(uint64_t mixed) const {
  const size_t line = mixed >> 32 & mask_;
  return line < lines_.size() ? line : line & mask_ >> 1;
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
