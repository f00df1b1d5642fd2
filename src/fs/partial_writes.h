// PartialWrites: the pages that programs here have written in part, and neither read since nor
// lost.
//
// The kernel keeps such a page without the rest of it, and asks for the rest when it is read: once,
// and not again when it gets an error (see fs/cut_files.h).  Each of a node's kernel inodes has
// pages of its own.
//
// Bounded: once there were more than kPagesMax, every page of the node may be one.  Not thread-safe
// (the node guards it).
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace larder::fs {

class PartialWrites {
 public:
  static constexpr uint64_t kPageBytes = 4096;
  static constexpr size_t kPagesMax = 64;

  void written(uint64_t epoch, uint64_t offset, uint64_t length) {
    for (const uint64_t end : {offset, offset + length})
      if (end % kPageBytes != 0) add({epoch, end / kPageBytes});
  }
  // The kernel has them whole now.
  void read(uint64_t epoch, uint64_t offset, uint64_t length) {
    std::erase_if(pages_, [&](const Page& known) {
      const uint64_t begin = known.number * kPageBytes;
      return known.epoch == epoch && begin >= offset && begin < offset + length;
    });
  }
  // The kernel has let all of them go.
  void dropped(uint64_t epoch) {
    std::erase_if(pages_, [&](const Page& known) { return known.epoch == epoch; });
  }
  bool may_have(uint64_t epoch, uint64_t offset) const {
    return is_overfull_ || has({epoch, offset / kPageBytes});
  }

 private:
  struct Page {
    uint64_t epoch = 0;
    uint64_t number = 0;
    bool operator==(const Page&) const = default;
  };
  bool has(const Page& page) const { return std::ranges::find(pages_, page) != pages_.end(); }
  void add(const Page& page) {
    if (has(page)) return;
    if (pages_.size() < kPagesMax)
      pages_.push_back(page);
    else
      is_overfull_ = true;
  }

  std::vector<Page> pages_;
  bool is_overfull_ = false;
};

}  // namespace larder::fs
