#include "app/cache_limits.h"

#include <algorithm>
#include <bit>

namespace larder::app {

cache::Limits limits_of(const Config& config, const io::SpaceInfo& space) {
  cache::Limits limits;
  limits.size_bytes = config.size.resolve(space.total_bytes);
  if (config.inodes.percent == 0 || space.total_inodes != 0)
    limits.objects = config.inodes.resolve(space.total_inodes);
  limits.min_free_bytes = config.min_free.resolve(space.total_bytes);
  return limits;
}

// Small caches get small log files: a few of them are to fit beside the objects.
uint64_t segment_bytes_of(uint64_t size_bytes) {
  constexpr uint64_t kMin = 1 << 20, kMax = 16 << 20;
  return std::bit_floor(std::clamp(size_bytes / 16, kMin, kMax));
}

// Records may be so much of it: with as many dead ones again, and what the journal makes them anew
// with, more than half of even a small cache is left to objects.
uint64_t catalog_bytes_of(uint64_t size_bytes) {
  return size_bytes / 8;
}

}  // namespace larder::app
