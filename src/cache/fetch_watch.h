// Follows the fetching of a whole file from outside, and ends it.  Thread-safe.
#pragma once

#include <atomic>
#include <cstdint>

namespace larder::cache {

struct FetchWatch {
  std::atomic<uint64_t> bytes_total{0};  // known from when it begins
  std::atomic<uint64_t> bytes_done{0};
  // Set by whoever does not want it any more: it ends with kCancelled soon.
  std::atomic<bool> is_cancelled{false};
};

}  // namespace larder::cache
