// MappedObjects: objects that were removed while the kernel may read them, and take room on the
// disk until it does so no more.
//
// An object that is open in passthrough may be mapped, and the mapping outlives the descriptor; the
// disk alone knows when it ends (io::File::is_used_elsewhere).  So such an object, of which no
// record is left, stays where it is and counts, and is looked at again: after a second, then less
// and less often, and when room is wanted.  After a crash it is an orphan like any other.
//
// It costs some bytes and no descriptor.  Beyond objects_max it is removed at once, and what it
// took counts as long as the mount lasts.
//
// Thread-safe.  step() and end() are the janitor's, or of who has stopped it.
#pragma once

#include <atomic>
#include <deque>
#include <functional>
#include <memory>
#include <unordered_set>

#include "base/clock.h"
#include "base/metrics.h"
#include "base/mutex.h"
#include "cache/janitor.h"
#include "cache/object_room.h"
#include "catalog/catalog.h"
#include "object/objects.h"

namespace larder::cache {

class MappedObjects {
 public:
  static constexpr size_t kMax = 1 << 14;
  static constexpr size_t kLooksPerStep = 256;
  static constexpr Nanos kFirstPause = std::chrono::seconds(1);
  static constexpr Nanos kLongestPause = std::chrono::minutes(1);

  // All outlive it.
  MappedObjects(catalog::Catalog& catalog, object::Objects& objects, Registry& registry,
                const Clock& clock, size_t objects_max = kMax);

  // Called when there is something to look at; with no lock that a step of the janitor takes.
  // Before the first keep().
  void set_wake(std::function<void()> wake) { wake_ = std::move(wake); }
  // True: somebody uses the object, so it stays for the time being, and its room with it.  Else the
  // caller removes it.  `file`: the object's, if the caller has it open.
  bool keep(ObjectId object, std::shared_ptr<ObjectRoom> room, std::shared_ptr<io::File> file);
  // Looks at some, and removes what is used no more.
  NextStep step();
  // Before the mount ends: what is used still is left to the next one.
  void end();

  size_t count() const { return count_.load(std::memory_order_relaxed); }
  // Adds those that are kept.
  void add_to(std::unordered_set<ObjectId>& objects) const;

 private:
  struct Kept {
    ObjectId object;
    std::shared_ptr<ObjectRoom> room;
  };
  // Where that is not told it is not.
  bool is_used(ObjectId object, std::shared_ptr<io::File> file) const;
  // Some of them; false: a round is over.
  bool look_at_some();
  void remove(const Kept& kept);
  void owe_audit();

  catalog::Catalog& catalog_;
  object::Objects& objects_;
  const Clock& clock_;
  const size_t objects_max_;
  std::function<void()> wake_;
  mutable Mutex mutex_;
  std::deque<Kept> kept_ GUARDED_BY(mutex_);  // only step() and end() take from it
  std::atomic<size_t> count_{0};              // of kept_
  size_t left_of_round_ GUARDED_BY(mutex_) = 0;
  Nanos look_at_ GUARDED_BY(mutex_){0};
  Nanos pause_ GUARDED_BY(mutex_) = kFirstPause;  // after that
};

}  // namespace larder::cache
