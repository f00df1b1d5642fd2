// The census: makes the files cached in earlier runs known to Residents, in order of last use,
// after the mount answers.
//
// It reads the records of all nodes in stretches, each of which it sorts; then introduces them,
// merging the stretches; then evicts what a smaller limit than last time no longer allows.
//
// Invariant: what is introduced was on record when its stretch was read; what was let go since is
// left out by Residents, and what came since is known there.
// Not thread-safe: the janitor's, beside requests.
#pragma once

#include <vector>

#include "base/error.h"
#include "cache/recorded_paths.h"
#include "cache/residents.h"
#include "catalog/catalog.h"

namespace larder::cache {

class Census {
 public:
  // Each stretch costs a walk over the index, however short it is.
  static constexpr size_t kRecordsPerStep = 1 << 17;
  static constexpr size_t kIntroducedPerStep = 1 << 15;
  static constexpr uint32_t kEvictionsPerStep = 64;

  // All outlive it.
  Census(catalog::Catalog& catalog, Residents& residents, const Rules& rules,
         size_t records_per_step = kRecordsPerStep);

  // One bounded piece of it; false: it is over.  A record that cannot be read ends the reading:
  // what was read before it is counted, and Residents told that it is not all.
  bool step();

 private:
  enum class Phase { kRead, kIntroduce, kEvict, kDone };
  struct Seen {
    int64_t used_at_ns;
    NodeId node;
    uint64_t bytes;
    int64_t cached_at_ns;
    Hints hints;
  };
  // A stretch, and the next of it to be introduced.
  struct Stretch {
    std::vector<Seen> seen;
    size_t next = 0;
  };
  static bool is_used_later(const Stretch& a, const Stretch& b) {
    return a.seen[a.next].used_at_ns > b.seen[b.next].used_at_ns;
  }

  Phase read();
  Phase introduce();
  Phase evict();

  catalog::Catalog& catalog_;
  Residents& residents_;
  const Rules& rules_;
  const size_t records_per_step_;
  RecordedPaths paths_;
  Phase phase_ = Phase::kRead;
  journal::Address from_;
  bool is_whole_ = true;
  std::vector<Stretch> stretches_;  // a heap, the one whose next was used first on top
};

}  // namespace larder::cache
