// The chunks of an object that have a record of their own, as a list: each
// record names the next, the node's record the first.  So they are found by
// what is there, however large the file is.
//
// Not thread-safe.
#pragma once

#include <cstdint>
#include <unordered_map>
#include <unordered_set>
#include <vector>

namespace larder::cache {

class ChunkList {
 public:
  // 0, which is never in the list, ends it.
  uint64_t first() const { return first_; }
  uint64_t next(uint64_t chunk) const {
    const auto at = next_.find(chunk);
    return at == next_.end() ? 0 : at->second;
  }
  bool has(uint64_t chunk) const { return next_.contains(chunk); }
  void add(uint64_t chunk) {
    if (!next_.try_emplace(chunk, first_).second) return;
    first_ = chunk;
  }
  // Those that are left and have another next one now.
  std::vector<uint64_t> remove(const std::unordered_set<uint64_t>& chunks) {
    std::vector<uint64_t> changed;
    uint64_t kept = 0;  // the last that stays
    bool has_gap = false;
    for (uint64_t chunk = first_; chunk != 0;) {
      const uint64_t after = next(chunk);
      if (chunks.contains(chunk)) {
        next_.erase(chunk);
        has_gap = true;
      } else {
        if (has_gap) link(kept, chunk, changed);
        has_gap = false;
        kept = chunk;
      }
      chunk = after;
    }
    if (has_gap) link(kept, 0, changed);
    return changed;
  }

 private:
  void link(uint64_t from, uint64_t to, std::vector<uint64_t>& changed) {
    if (from == 0) {
      first_ = to;
      return;
    }
    next_[from] = to;
    changed.push_back(from);
  }

  uint64_t first_ = 0;
  std::unordered_map<uint64_t, uint64_t> next_;
};

}  // namespace larder::cache
