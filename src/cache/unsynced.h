// Unsynced: what was written to a file that its source may yet fail to keep.
//
// A source may take a write and report at a sync, a close or a later write only that it could not
// be kept (a full disk, a quota, NFS, sshfs).  Then nothing of what was written since it last said
// that it has everything is to be believed.
//
// Not thread-safe: CachedFile's mutex guards it.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace larder::cache {

class Unsynced {
 public:
  struct Range {
    uint64_t begin = 0;
    uint64_t end = 0;
    bool operator==(const Range&) const = default;
  };
  static constexpr size_t kRangesMax = 16;  // beyond it they become one that covers them all

  void add(uint64_t begin, uint64_t end) {
    ++writes_;
    for (Range& range : ranges_) {
      if (begin > range.end || end < range.begin) continue;
      range = {std::min(range.begin, begin), std::max(range.end, end)};
      return;
    }
    ranges_.push_back({begin, end});
    if (ranges_.size() <= kRangesMax) return;
    Range all = ranges_.front();
    for (const Range& range : ranges_)
      all = {std::min(all.begin, range.begin), std::max(all.end, range.end)};
    ranges_ = {all};
  }
  bool empty() const { return ranges_.empty(); }
  // To be noted before a sync.
  uint64_t writes() const { return writes_; }
  // The source has all of the first `writes`.  Ones that came since are not told apart from them.
  void synced(uint64_t writes) {
    if (writes == writes_) ranges_.clear();
  }
  std::vector<Range> take() { return std::exchange(ranges_, {}); }

 private:
  std::vector<Range> ranges_;
  uint64_t writes_ = 0;
};

}  // namespace larder::cache
