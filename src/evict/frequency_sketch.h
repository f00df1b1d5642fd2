// How often keys were used lately, by a count-min sketch (Cormode, Muthukrishnan 2005) of 4-bit
// counters that are all halved now and then (TinyLFU: Einziger, Friedman, Manes, "TinyLFU: A highly
// efficient cache admission policy", 2017).  A key's four counters share a cache line.
//
// The sketch never says too little since the last halvings, and rarely too much.
// Not thread-safe.
#pragma once

#include <array>
#include <cstdint>

#include "base/paged_array.h"

namespace larder::evict {

class FrequencySketch {
 public:
  static constexpr unsigned kMax = 15;

  // Room for that many cached items: 8 bytes for each up to 4,096, which then serve 16,384; beyond,
  // 2 bytes.  What was counted stays.  Only grows.
  void reserve(size_t items);
  void add(uint32_t hash);
  // 0 to kMax.
  unsigned estimate(uint32_t hash) const;
  size_t size_bytes() const { return lines_.size_bytes(); }

 private:
  static constexpr size_t kWords = 8;  // a cache line; each of the four rows has two of them
  using Line = std::array<uint64_t, kWords>;
  static constexpr size_t kRows = 4;
  static constexpr size_t kCountersPerLine = 128;
  // The word and the bit of a row's counter within the line.
  struct Place {
    size_t word;
    unsigned shift;
  };
  static Place place_of(uint64_t mixed, size_t row);
  size_t line_of(uint64_t mixed) const;
  void halve();

  // Grows a line at a time, by linear hashing (Litwin, VLDB 1980): what lies beyond the last line
  // is in the one with the highest bit less.
  PagedArray<Line, 64> lines_;
  size_t mask_ = 0;    // of as many lines as there are, or the next power of two
  uint64_t adds_ = 0;  // since a halving, less what that took away
};

}  // namespace larder::evict
