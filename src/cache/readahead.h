// Readahead: how far ahead of a reader to fetch, from the pattern of one handle's reads.
//
// A read that goes on where the last one ended (or within a small gap: requests of one reader may
// be served out of order) doubles the window up to the limit; any other read closes it.  The first
// read of a file at offset 0 counts as sequential: most files are read from start to end.  Not
// thread-safe.
#pragma once

#include <algorithm>
#include <cstdint>

namespace larder::cache {

class Readahead {
 public:
  struct Range {
    uint64_t offset = 0;
    uint64_t length = 0;  // 0: nothing to do
  };

  // Notes a read and says what to fetch ahead now.  A range is given out once, in steps of half a
  // window at least, so that a long sequential read asks for it rarely.
  Range on_read(uint64_t offset, uint64_t length, uint64_t window_max_bytes) {
    const uint64_t end = offset + length;
    const bool sequential = offset <= next_ + kSlackBytes && offset + kSlackBytes >= next_ &&
                            !(next_ == 0 && offset != 0);
    if (!sequential) {
      next_ = end;
      fetched_to_ = end;
      window_ = 0;
      return {};
    }
    next_ = std::max(next_, end);
    fetched_to_ = std::max(fetched_to_, next_);
    if (fetched_to_ - next_ > window_ / 2) return {};
    window_ = std::min(window_max_bytes, std::max(kFirstWindowBytes, window_ * 2));
    const uint64_t wanted_to = next_ + window_;
    if (wanted_to <= fetched_to_) return {};
    const Range range{fetched_to_, wanted_to - fetched_to_};
    fetched_to_ = wanted_to;
    return range;
  }

 private:
  static constexpr uint64_t kFirstWindowBytes = 512 << 10;
  static constexpr uint64_t kSlackBytes = 1
                                          << 20;  // the kernel's own readahead arrives out of order

  uint64_t next_ = 0;        // where a sequential reader goes on
  uint64_t fetched_to_ = 0;  // asked for up to here
  uint64_t window_ = 0;
};

}  // namespace larder::cache
