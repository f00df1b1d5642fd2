// Budget: how much of the cache disk may be taken, by all limits together.
//
//   size      bytes of everything in the cache directory: objects as the file system allocates
//   them,
//             and the *overhead*: journal, directories, small files
//   inodes    objects, each of which is one file
//   min_free  bytes of the disk that stay free, whoever took the others
//
// Bytes are taken before they are written, so no limit is exceeded at any moment.  The overhead
// grows by itself, in steps that are announced: `headroom_bytes` is what its next steps take.
//
// How much is free is asked of the file system when it may matter: when an earlier answer, less
// what was taken since, is not enough, or is older than a second.
//
// Invariants
//   - object_bytes_ and objects_ are what was taken or adopted and not given back; expected_ comes
//     on top of them.
//   - pending_bytes_ of object_bytes_ are not written yet, as far as is known: settled() says when.
//   - free_bytes_ is a lower bound of what was free at sampled_at_, less what was taken since; what
//     was pending at that time is taken off too.
// Thread-safe.  take() and excess() may ask the disk for its space; no other call does I/O.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>

#include "base/clock.h"
#include "base/metrics.h"
#include "base/mutex.h"
#include "io/disk.h"

namespace larder::cache {

struct Limits {
  uint64_t size_bytes = UINT64_MAX;
  uint64_t objects = UINT64_MAX;
  uint64_t min_free_bytes = 0;
};

// What the cache directory takes beside objects.
struct Overhead {
  uint64_t journal_bytes = 0;
  uint64_t metadata_bytes = 0;  // directories and small files
  uint64_t headroom_bytes = 0;  // what the journal's next steps take
};

class Budget {
 public:
  // `overhead` is thread-safe and cheap; it and the disk outlive the budget.
  Budget(const Limits& limits, io::Disk& disk, std::function<Overhead()> overhead,
         Registry& registry, const Clock& clock);

  // Takes so much, or, when a limit does not allow it, nothing (false).
  bool take(uint64_t bytes, uint64_t objects);
  // So many of the bytes taken are on the disk now, or were given back unused.
  void settled(uint64_t bytes);
  // Counts what is there already, whatever the limits say.
  void adopt(uint64_t bytes, uint64_t objects);
  void give_back(uint64_t bytes, uint64_t objects);
  // What was counted as `before` is `after`.
  void correct(uint64_t before_bytes, uint64_t after_bytes);

  struct Amount {
    uint64_t bytes = 0;
    uint64_t objects = 0;
    bool is_zero() const { return bytes == 0 && objects == 0; }
  };
  // Earlier runs have left at most so much, which nobody has counted yet: it is taken for used.
  void expect(const Amount& amount);
  // Counts some of it.
  void adopt_expected(uint64_t bytes, uint64_t objects);
  // All is counted; what is expected still is not there.
  void end_expectation();
  bool expects_more() const;
  // Counted and expected.
  Amount taken() const;
  // Of which the limits allow so much at present.
  Amount most_objects() const;

  // What has to go before `wanted` more would fit and `spare_per_mille` of each limit besides were
  // free; zero: nothing.  What is merely expected is not made up for ahead of need.
  Amount excess(const Amount& wanted, uint32_t spare_per_mille);
  // Whether excess({}, spare_per_mille) is something, as far as can be said without asking the
  // disk: take() has done so within the last second.
  bool is_pressed(uint32_t spare_per_mille) const;
  // Whether so much would fit if all objects that are counted were gone.
  bool could_fit(uint64_t bytes) const;

  const Limits& limits() const { return limits_; }
  uint64_t object_bytes() const;
  // Of everything in the cache directory.
  uint64_t used_bytes() const;

 private:
  void sample();
  Amount excess_by_last_sample(const Amount& wanted, uint32_t spare_per_mille) const;
  bool fits(const Amount& wanted) const REQUIRES(mutex_);
  bool leaves_free(uint64_t bytes) const REQUIRES(mutex_);

  const Limits limits_;
  io::Disk& disk_;
  const std::function<Overhead()> overhead_;
  const Clock& clock_;

  mutable Mutex mutex_;
  uint64_t object_bytes_ GUARDED_BY(mutex_) = 0;
  uint64_t objects_ GUARDED_BY(mutex_) = 0;
  Amount expected_ GUARDED_BY(mutex_);
  uint64_t pending_bytes_ GUARDED_BY(mutex_) = 0;
  uint64_t free_bytes_ GUARDED_BY(mutex_) = 0;
  std::optional<Nanos> sampled_at_ GUARDED_BY(mutex_);  // none: not yet
};

}  // namespace larder::cache
