// SinceMount: what became of objects while the census runs, which tells only what was before.
//
// Invariant: uses_ has each node's last use, and perhaps earlier ones of it; when there are more
// nodes than kUsesMax / 2, those used longest ago may be left out.
// Not thread-safe.
#pragma once

#include <algorithm>
#include <unordered_set>
#include <vector>

#include "base/ids.h"

namespace larder::cache {

class SinceMount {
 public:
  static constexpr size_t kUsesMax = 1 << 20;

  void note_use(NodeId node) {
    if (!uses_.empty() && uses_.back() == node) return;
    if (uses_.size() == kUsesMax) keep_last_uses();
    uses_.push_back(node);
  }
  // The node's object is gone: what the census has read of it is no more.
  void note_gone(NodeId node) { gone_.insert(node); }

  bool is_gone(NodeId node) const { return gone_.contains(node); }
  // In order; a node may be in it more than once.
  const std::vector<NodeId>& uses() const { return uses_; }

 private:
  void keep_last_uses() {
    std::unordered_set<NodeId> seen;
    std::vector<NodeId> last;
    for (size_t i = uses_.size(); i-- > 0 && last.size() < kUsesMax / 2;)
      if (seen.insert(uses_[i]).second) last.push_back(uses_[i]);
    std::ranges::reverse(last);
    uses_ = std::move(last);
  }

  std::vector<NodeId> uses_;
  std::unordered_set<NodeId> gone_;
};

}  // namespace larder::cache
