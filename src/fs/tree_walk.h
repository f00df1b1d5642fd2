// TreeWalk: what is left of one directory's sub-directories for a walk over its tree.
//
// A tree is being walked when a second sub-directory of one directory is read after the directory
// itself: from then on the others are worth listing before the walker comes to them.  A walk goes
// on into the directories that were listed ahead, so that there the first one read is enough.  How
// far ahead doubles with each one read, as readahead does.  Without a walk nothing is listed ahead.
//
// Not thread-safe (the directory's node guards it).
#pragma once

#include <algorithm>
#include <cstddef>
#include <utility>
#include <vector>

#include "base/ids.h"

namespace larder::fs {

class TreeWalk {
 public:
  static constexpr size_t kAheadMax = 32;
  static constexpr size_t kSubdirectoriesMax = 65536;  // beyond it, 8 bytes each are too much

  TreeWalk() = default;
  // The directory was read and has these sub-directories, in the order of the listing.
  TreeWalk(std::vector<NodeId> subdirectories, bool part_of_a_walk)
      : subdirectories_(std::move(subdirectories)), read_(part_of_a_walk ? 1 : 0) {
    if (subdirectories_.size() > kSubdirectoriesMax) subdirectories_ = {};
  }

  // One of them is being read now; gives those to list ahead.  Each is given out once.
  std::vector<NodeId> on_read(NodeId which) {
    ++read_;
    if (read_ < kReadsOfAWalk) {
      first_ = which;
      return {};
    }
    ahead_ = std::min(kAheadMax, ahead_ * 2);
    const size_t to = std::min({subdirectories_.size(), read_ + ahead_, given_ + ahead_});
    std::vector<NodeId> next;
    for (; given_ < to; ++given_) {
      const NodeId id = subdirectories_[given_];
      if (id != which && id != first_) next.push_back(id);
    }
    return next;
  }

 private:
  static constexpr size_t kReadsOfAWalk = 2;

  std::vector<NodeId> subdirectories_;
  size_t read_ = 0;   // of them, since the directory itself was read
  size_t given_ = 0;  // those before it have been given out, but for those read before
  NodeId first_;      // read before the walk was seen
  size_t ahead_ = 4;
};

}  // namespace larder::fs
