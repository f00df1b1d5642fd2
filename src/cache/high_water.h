// HighWater: at most how much the objects take, written down before they do, so that the next run
// knows before its census is over how much it has to reckon with, also after a crash.
//
// The mark is set ahead in steps, as each costs a sync: an eighth of what is there, and 1,024
// objects and 64 MiB, or a sixteenth of a smaller cache, at least; but not beyond what the limits
// leave to objects, which is less as the journal grows: tighten().  A clean stop lowers it to what
// is there.
//
// Invariant: the durable mark is never below what cover() was asked for and has allowed.
// Thread-safe.  Who needs a higher mark waits for the disk, and for others who do.
#pragma once

#include <atomic>

#include "base/error.h"
#include "base/mutex.h"
#include "cache/budget.h"
#include "catalog/catalog.h"

namespace larder::cache {

class HighWater {
 public:
  // Of the runs before.  Where they did not say it is what the limits leave; is_empty: nothing, as
  // there were none, which is noted.  Both outlive it.
  static Result<HighWater> load(catalog::Catalog& catalog, const Budget& budget, bool is_empty);
  HighWater(catalog::Catalog& catalog, const Budget& budget, const Budget::Amount& mark);
  HighWater(HighWater&& other) noexcept;

  Budget::Amount mark() const;
  // Raises the mark when it is lower.  False: that cannot be written down; so much must not be
  // taken.  May wait for the disk, once a step.
  bool cover(const Budget::Amount& taken);
  // Lowers the mark to what the limits leave by now, but not below what is taken: what the next run
  // reckons with too much it evicts in vain.  May wait for the disk, when there is a change.
  void tighten();
  // Whether tighten() would lower it, as far as can be said at little cost.
  bool is_loose() const { return bytes_.load() > budget_.most_objects().bytes; }
  // So much it is and stays: for a clean stop.
  Result<void> lower(const Budget::Amount& taken);

 private:
  Result<void> store(const Budget::Amount& mark) REQUIRES(mutex_);
  bool covers(const Budget::Amount& taken) const;

  catalog::Catalog& catalog_;
  const Budget& budget_;
  Mutex mutex_;
  bool has_failed_ GUARDED_BY(mutex_) = false;
  std::atomic<uint64_t> bytes_;
  std::atomic<uint64_t> objects_;
};

}  // namespace larder::cache
