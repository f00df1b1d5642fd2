// The lowest so many of addresses that come in any order.
//
// Twice as many are gathered before the higher half is thrown away (std::nth_element), which costs
// each of them a constant, where a heap would cost a logarithm.  Not thread-safe.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "base/check.h"

namespace larder::journal {

class LowestAddresses {
 public:
  explicit LowestAddresses(size_t count) : count_(count) { CHECK(count > 0); }

  void add(uint64_t address) {
    if (address >= bound_) return;
    kept_.push_back(address);
    if (kept_.size() == 2 * count_) shrink();
  }
  // In order; leaves nothing.
  std::vector<uint64_t> sorted() {
    if (kept_.size() > count_) shrink();
    std::ranges::sort(kept_);
    return std::exchange(kept_, {});
  }

 private:
  void shrink() {
    const auto end = kept_.begin() + static_cast<ptrdiff_t>(count_);
    std::ranges::nth_element(kept_, end);
    bound_ = *end;
    kept_.erase(end, kept_.end());
  }

  size_t count_;
  uint64_t bound_ = UINT64_MAX;  // count_ of those kept are lower
  std::vector<uint64_t> kept_;
};

}  // namespace larder::journal
