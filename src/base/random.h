// Pseudo-random numbers from a seed (splitmix64, Steele et al. 2014): small, repeatable, not
// secret.
#pragma once

#include <cstdint>

#include "base/checksum.h"

namespace larder {

// Not thread-safe.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t next() { return mix64(state_ += 0x9e3779b97f4a7c15ULL); }
  // In [0, limit); limit > 0.
  uint64_t below(uint64_t limit) { return next() % limit; }
  bool one_in(uint64_t n) { return below(n) == 0; }

 private:
  uint64_t state_;
};

}  // namespace larder
