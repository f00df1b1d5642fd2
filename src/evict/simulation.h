// Replays a trace of requests against a policy, and tells what the best possible policy would have
// done.
#pragma once

#include <cstdint>
#include <vector>

#include "evict/policy.h"

namespace larder::evict {

// The requests in their order.  Keys are dense: each below `distinct`.
struct Trace {
  std::vector<uint32_t> keys;
  std::vector<uint64_t> sizes_bytes;  // one a request, or none: every item takes 1
  std::vector<uint32_t> times_s;      // one a request, never going back, or none
  uint32_t distinct = 0;

  uint64_t size_of(size_t request) const { return sizes_bytes.empty() ? 1 : sizes_bytes[request]; }
  uint32_t time_of(size_t request) const { return times_s.empty() ? 0 : times_s[request]; }
};

struct HitCounts {
  uint64_t requests = 0;
  uint64_t hits = 0;
  uint64_t bytes = 0;  // asked for; the number of requests when there are no sizes
  uint64_t hit_bytes = 0;
  double hit_ratio() const { return ratio(hits, requests); }
  double byte_hit_ratio() const { return ratio(hit_bytes, bytes); }

 private:
  static double ratio(uint64_t part, uint64_t whole) {
    return whole == 0 ? 0 : static_cast<double>(part) / static_cast<double>(whole);
  }
};

// A cache of `capacity` (items, or bytes when there are sizes) run by the policy, which must be
// new.  Each item that was missed comes in; one larger than the capacity does not.  With ttl_s > 0
// an item expires that long after it came in.
HitCounts replay(const Trace& trace, Policy& policy, uint64_t capacity, uint32_t ttl_s = 0);

// What no policy can exceed.  Without sizes it is exact: Belady's MIN (1966), which evicts what is
// needed again last.  With sizes the problem is NP-hard; this is the upper bound of Berger,
// Beckmann, Harchol-Balter, "Practical bounds on optimal caching with variable object sizes" (2018,
// there PFOO-L): the intervals between uses of an item, those with the least room x time for a hit
// (or for a byte of hits) first, until the cache's room x time is spent.
HitCounts optimum(const Trace& trace, uint64_t capacity);

}  // namespace larder::evict
