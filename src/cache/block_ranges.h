// A set of blocks, as ranges: for many that follow one another.
//
// Not thread-safe.
#pragma once

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <map>

namespace larder::cache {

class BlockRanges {
 public:
  void add(uint64_t first, uint64_t last) {
    auto at = ranges_.upper_bound(first);
    if (at != ranges_.begin() && std::prev(at)->second + 1 >= first) {
      --at;
      first = at->first;
    }
    while (at != ranges_.end() && at->first <= last + 1) {
      last = std::max(last, at->second);
      at = ranges_.erase(at);
    }
    ranges_[first] = last;
  }
  void clear() { ranges_.clear(); }
  bool empty() const { return ranges_.empty(); }
  // By first block, the last one of the range.
  const std::map<uint64_t, uint64_t>& ranges() const { return ranges_; }

 private:
  std::map<uint64_t, uint64_t> ranges_;
};

}  // namespace larder::cache
