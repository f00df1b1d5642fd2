// What it takes to fetch something, against what that usually takes: the cost by which a policy
// weighs files (evict::Item::cost_us).
//
// Most files of a source cost the same, and single answers are late by chance; so only what takes
// four times as long as the average, or a quarter, counts as another cost.  What is not known, as
// of a file cached by an earlier mount, is taken for usual.  The average is exponential, over about
// 32 fetches; one fetch counts as eight times the average at most.
//
// Thread-safe.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>

#include "base/clock.h"
#include "evict/policy.h"

namespace larder::cache {

class FetchCost {
 public:
  // Takes one in; its cost, 0: as usual.
  uint32_t of(Nanos took) {
    const double taken_ns = std::max<double>(static_cast<double>(took.count()), 1);
    const double usual_ns = usual_ns_.load(std::memory_order_relaxed);
    if (usual_ns == 0) {
      usual_ns_.store(taken_ns, std::memory_order_relaxed);
      return 0;
    }
    const double ratio = taken_ns / usual_ns;
    // Of two at once one may be lost.
    usual_ns_.store(usual_ns + usual_ns * (std::min(ratio, kRatioCounted) - 1) / kFetches,
                    std::memory_order_relaxed);
    if (ratio < kRatioNoted && ratio > 1 / kRatioNoted) return 0;
    return static_cast<uint32_t>(std::clamp(ratio * evict::kUsualCostUs, 1.0, kCostMaxUs));
  }

 private:
  static constexpr double kFetches = 32;
  static constexpr double kRatioCounted = 8;
  static constexpr double kRatioNoted = 4;
  static constexpr double kCostMaxUs = 1e9;

  std::atomic<double> usual_ns_{0};  // 0: not known
};

}  // namespace larder::cache
