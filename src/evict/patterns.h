// Made requests, to compare policies on: the same for the same seed.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "evict/simulation.h"

namespace larder::evict {

struct PatternOptions {
  uint32_t items = 10'000;  // that are asked for again and again; at least 100
  uint64_t requests = 500'000;
  uint64_t seed = 1;
};

// "zipf"       each item n asked for with a probability like 1/n
// "scan"       each item once, in order, and never again
// "loop"       all items in order, again and again
// "shift"      zipf, whose ranks move on by a tenth of the items ten times
// "recent"     mostly what was asked for lately (stack distances like 1/n)
// "zipf-scan"  zipf, with a scan of new items, half as many as there are, now and then
// "zipf-loop"  every other request zipf, the others a loop over as many other items
// "sizes"      zipf, sizes from 1 KiB to 1 MiB that have nothing to do with popularity
// "big-scan"   zipf over small items, and every twentieth request a new large one
std::vector<std::string_view> pattern_names();
// kInvalid, naming what is accepted, for an unknown name.
Result<Trace> make_pattern(std::string_view name, const PatternOptions& options);

}  // namespace larder::evict
