// Residents: which objects take how much of the cache disk, and which goes next when room is
// needed.
//
// reserve() makes room within the Budget before a block is admitted, by evicting objects, or parts
// of large ones, in the policy's order; when nothing may go it refuses and the caller goes round
// the cache.  relieve() does so ahead of need: the janitor keeps some of each limit free, so that
// readers seldom wait for it.
//
// There is a policy for each priority: all of a lower one go before any of a higher, and pinned
// objects do not go.  Files cached in earlier runs become known through a census that runs after
// the mount answers (no walk at mount); until it ends the most there can be of them is taken for
// used (expect()).
//
// Invariants
//   - Budget's object bytes are the sum of the entries' bytes, plus what is reserved and neither
//     charged nor cancelled yet, plus what was let go and not given back or could not be removed;
//     its objects are the entries, those let go and those that could not be removed.
//   - An entry is in table_ and, unless pinned, in the policy of its priority.
// Thread-safe.  mutex_ is held for memory operations only, never across the eviction itself; all
// but reserve(), relieve(), expire() and trim() may be called under a file's lock.
#pragma once

#include <array>
#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "base/metrics.h"
#include "base/mutex.h"
#include "cache/budget.h"
#include "cache/fetch_cost.h"
#include "cache/resident_table.h"
#include "cache/rules.h"
#include "cache/since_mount.h"
#include "evict/policy.h"

namespace larder::cache {

class Residents {
 public:
  // Frees the node's object and forgets it here, or, of a large one, a part of at least so many
  // bytes if there are as many, and releases that here; false when it is in use and must stay.
  // Called without locks held, from any thread.
  using Evict = std::function<bool(NodeId, uint64_t wanted_bytes)>;
  using MakePolicy = std::function<std::unique_ptr<evict::Policy>()>;

  // ttl: how long after it was begun an object expires, 0: never; the policies are to honour it
  // then.
  Residents(MakePolicy make_policy, Budget& budget, Nanos ttl, Registry& registry,
            const Clock& clock);

  // Must be set before the first reserve().
  void set_evict(Evict evict) { evict_ = std::move(evict); }
  // Called, from any thread and under a file's lock, when less than kSparePerMille of a limit is
  // left: relieve() is wanted.
  void set_pressed(std::function<void()> pressed) { pressed_ = std::move(pressed); }

  // Called, likewise, when there was no room to be had: some may still be to be given back.
  void set_refused(std::function<void()> refused) { when_refused_ = std::move(refused); }

  // Called with all that is taken before any of it is used; false: it must not be.
  void set_cover(std::function<bool(const Budget::Amount& taken)> cover) {
    cover_ = std::move(cover);
  }
  // What earlier runs have left at most.  Until the census ends it is taken for used, and nothing
  // is evicted: which objects should go is not known.  with_leftovers: there may be objects, or
  // parts of them, that are not recorded; what is expected beyond what the census has found is
  // taken for them until end_leftovers(), but room is made as always.  Before the first reserve().
  void expect(const Budget::Amount& left, bool with_leftovers = false) {
    budget_.expect(left);
    may_have_leftovers_ = with_leftovers;
  }

  // Bytes are multiples of ResidentTable::kUnitBytes, but for introduce() and settle(), which round
  // up.

  // Makes room for `bytes` of the node's object, without evicting it.  False: no room to be had.
  // The hints count when the node is not known yet, as does how long it took to fetch them (0: they
  // were not fetched).
  bool reserve(NodeId node, uint64_t bytes, const Hints& hints = {}, Nanos fetched_in = Nanos(0));
  // What was reserved is written, and the node's own from now on, or is not needed after all.
  void charge(NodeId node, uint64_t bytes);
  void cancel(uint64_t bytes);
  // Gives back what the node holds.
  void release(NodeId node, uint64_t bytes);
  // The object was found to take so many bytes: counted so, whatever the limits say.
  void settle(NodeId node, uint64_t bytes);
  // The node's object is on its way out: it is known here no more, but its bytes, which are
  // returned, and itself count until give_back() says that its file is gone (ObjectRoom).
  std::optional<uint64_t> let_go(NodeId node);
  void give_back(uint64_t object_bytes);
  // The same object has become larger by so much, which give_back() is to have, too.
  void adopt_growth(uint64_t bytes);
  // An object that an earlier run left and no record names: counts until give_back().
  void adopt_orphan(uint64_t object_bytes);
  // Both at once, for a node without an object; returns the bytes it held.
  uint64_t forget(NodeId node);
  // Notes a use.
  void touch(NodeId node);
  // A file cached in an earlier run, from the census, in order of last use.  Of one that is known
  // already only the priority counts; one that was let go since the mount is passed over.
  // cached_at_ns: wall clock, 0: not known.
  void introduce(NodeId node, uint64_t bytes, int64_t cached_at_ns, const Hints& hints = {});
  // The same because it is used now; nothing to do when it is known.
  void meet(NodeId node, uint64_t bytes, int64_t cached_at_ns);
  // After the census: what was used since the mount is younger than what was introduced.  When it
  // could not read all that is recorded, the rest counts as leftovers.
  void end_census(bool is_whole = true);
  // What was not recorded is removed, but for so much, which counts until this is called again.  On
  // the thread of the census.
  void end_leftovers(const Budget::Amount& left = {});
  // Nothing is expected any more.
  bool has_counted_all() const;
  // Whether an object of so many bytes would fit if all others were gone.
  bool could_fit(uint64_t bytes) const { return budget_.could_fit(bytes); }

  // Evicts at most `evictions_max` times while more is used than is to be, kSpareGoalPerMille of
  // each limit counted as used.  True when there is more to do and something may go.
  bool relieve(uint32_t evictions_max);
  // Evicts at most so many objects whose time is over.  True when there are more that may go.
  bool expire(uint32_t evictions_max);
  // Evicts at most so many objects until the limits hold or nothing may go: after a census that
  // found more than they allow.  True when there are more that may.
  bool trim(uint32_t evictions_max);

  uint64_t used_bytes() const { return budget_.used_bytes(); }
  uint64_t limit_bytes() const { return budget_.limits().size_bytes; }
  uint64_t object_bytes() const { return budget_.object_bytes(); }
  size_t count() const;
  // Of one node; 0: it is not known.
  uint64_t bytes_of(NodeId node) const;
  size_t memory_bytes() const;

  // Below so much room the janitor is called, and it goes on until so much is free.
  static constexpr uint32_t kSparePerMille = 20;
  static constexpr uint32_t kSpareGoalPerMille = 40;

 private:
  using Slot = ResidentTable::Slot;
  struct Victim {
    NodeId node;
    uint64_t bytes;
  };
  class Round;

  void enter_earlier(NodeId node, uint64_t bytes, int64_t cached_at_ns, const Hints& hints)
      REQUIRES(mutex_);
  // Which objects there are is not known yet.
  bool is_counting() const;
  evict::Policy* policy_of(Priority priority) REQUIRES(mutex_);
  Slot slot_of(NodeId node, const Hints& hints, uint32_t cost_us) REQUIRES(mutex_);
  void enter(Slot slot, uint32_t cached_at_s, const Hints& hints, uint32_t cost_us = 0)
      REQUIRES(mutex_);
  void leave(Slot slot) REQUIRES(mutex_);
  uint32_t seconds_cached_at(int64_t cached_at_ns) const;
  void set_bytes(Slot slot, uint64_t bytes) REQUIRES(mutex_);
  // Wall-clock time as it was at the start, going on monotonically.
  uint32_t now_s() const;
  bool make_room(NodeId for_node, const Budget::Amount& wanted);
  std::optional<Victim> choose(evict::SlotFilter may_go);
  std::optional<Victim> choose_expired(evict::SlotFilter may_go);
  void call_if_pressed();
  bool is_known(NodeId node) const;
  void enter_reserved(NodeId node, uint64_t objects_taken, const Hints& hints, uint32_t cost_us);

  Budget& budget_;
  const Clock& clock_;
  Evict evict_;
  std::function<void()> pressed_;
  std::function<void()> when_refused_;
  std::function<bool(const Budget::Amount&)> cover_;
  Counter& evictions_;
  Counter& evicted_bytes_;
  Counter& refused_;
  Counter& expired_;
  const Nanos ttl_;
  FetchCost fetch_cost_;
  const int64_t wall_offset_s_;  // wall clock less monotonic, at the start

  bool may_have_leftovers_ = false;  // the janitor's, once it runs
  Budget::Amount left_;              // likewise: by the last end_leftovers()

  mutable Mutex mutex_;
  const MakePolicy make_policy_;
  std::array<std::unique_ptr<evict::Policy>, kPriorities> policies_ GUARDED_BY(mutex_);
  ResidentTable table_ GUARDED_BY(mutex_);
  // Until the census is over.
  std::optional<SinceMount> since_mount_ GUARDED_BY(mutex_){std::in_place};
};

}  // namespace larder::cache
