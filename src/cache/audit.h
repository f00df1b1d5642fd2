// Audit: compares what is in the cache directory with what the catalog says, and measures it.
//
// A pass reads the records of all nodes, then looks at every file under objects/:
//   an orphan     an object that no node's record names and no file in memory has: a crash came
//                 between the removal of the record and that of the object
//   a stray       a file that is not an object, or was being made when a crash came (*.new)
// Both are removed, an orphan's chunk records first.  An object that takes more or less than was
// accounted for it, as after a crash that came between the writing of blocks and their claim, is
// put right, if nobody is using it (CachedFile::tidy).  The sum of what all files and directories
// take on the disk is the measured size, to be compared with what is accounted; it is exact when
// the mount was idle meanwhile.
//
// Invariants
//   - An object of this run (Catalog::first_object and up) is never judged: its record may be on
//   its
//     way.
//   - An object of an earlier run is named by a record from before the pass began, or by none: ids
//     are handed out once.  So what no record read by the pass names, and no file in memory has
//     when it is looked at after that, never comes into use again.
//   - One pass holds the ids of about kObjectsMax objects in memory at a time; with more objects it
//     reads the records once for each part of objects/.
//
// step() is the janitor's; status() and schedule().request() may be called from any thread.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "base/clock.h"
#include "base/metrics.h"
#include "base/mutex.h"
#include "cache/cached_file.h"
#include "cache/pass_schedule.h"
#include "catalog/catalog.h"
#include "io/disk.h"

namespace larder::cache {

struct AuditFindings {
  uint64_t orphans = 0;
  uint64_t strays = 0;
  uint64_t removed = 0;  // of both
  Budget::Amount left;   // orphans that could not be removed
  uint64_t settled = 0;  // objects that took something else than was accounted
  uint64_t objects = 0;
  uint64_t object_bytes = 0;  // allocated, as are the following
  uint64_t journal_bytes = 0;
  uint64_t metadata_bytes = 0;  // directories and small files
  uint64_t measured_bytes() const { return object_bytes + journal_bytes + metadata_bytes; }
};

class Audit {
 public:
  static constexpr std::string_view kOwedRecord = "audit-owed";
  static constexpr std::string_view kOwedLaterRecord = "audit-owed-later";
  static constexpr size_t kObjectsMax = 1 << 20;
  static constexpr Nanos kPeriod = std::chrono::hours(24 * 7);
  // Between steps, when nobody waits for the pass: a step looks at kNamesPerStep files.
  static constexpr Nanos kPause = std::chrono::milliseconds(20);
  static constexpr Nanos kRetry = std::chrono::minutes(10);  // after a pass that failed
  static constexpr size_t kNamesPerStep = 256;
  static constexpr size_t kRemovalsPerStep = 64;
  static constexpr size_t kRecordsPerStep = 16384;

  // What it asks of others; thread-safe.
  struct Host {
    // The objects of all files in memory, and those that are kept without one.
    std::function<std::unordered_set<ObjectId>()> objects_in_memory;
    std::function<uint64_t()> object_count;        // about
    std::function<uint64_t()> accounted_bytes;     // of all that is in the cache directory
    std::function<uint64_t(NodeId)> object_bytes;  // accounted for the node's object
    // The node's file, taken from the catalog if need be; null when it has none.
    std::function<std::shared_ptr<FileOwner>(NodeId)> open;
    // True: a program has the object mapped, which takes so many bytes; it is counted, and removed
    // when it is mapped no more.
    std::function<bool(ObjectId, uint64_t bytes)> keep_mapped;
    // A whole pass is over: but for orphans that could not be removed, which take so much, nothing
    // is in the cache directory that is not accounted for.
    std::function<void(const Budget::Amount& left)> all_is_counted = [](const Budget::Amount&) {};
  };

  // Notes that a whole pass must be made, as an earlier run did not end cleanly.
  static Result<void> owe(catalog::Catalog& catalog);
  // The same for the next run: an object of this one could not be removed.  Thread-safe.
  static Result<void> owe_later(catalog::Catalog& catalog);
  // At the start of a run: whether a pass is owed by now.
  static Result<bool> take_on(catalog::Catalog& catalog);

  // All outlive it.  is_urgent: a pass is owed.
  Audit(io::Disk& disk, catalog::Catalog& catalog, Activity& activity, Host host, bool is_urgent,
        Registry& registry, const Clock& clock);
  ~Audit();

  NextStep step();
  PassSchedule& schedule() { return schedule_; }

  struct Status {
    AuditFindings findings;  // of the last whole pass
    uint64_t accounted_bytes = 0;
    uint64_t passes = 0;  // in this run
    std::string error;    // why the last one did not come to its end
  };
  Status status() const;

 private:
  struct Pass;

  void begin();
  // One bounded piece of the pass; false: it is over.
  Result<bool> advance(Pass& pass);
  Result<void> read_records(Pass& pass);
  Result<void> look_at_objects(Pass& pass);
  Result<void> list_directory(Pass& pass);
  Result<void> look_at_object(Pass& pass, const std::string& name);
  Result<void> count_object(Pass& pass, ObjectId object, NodeId node);
  // Whether so many bytes are accounted for the node's object.
  bool is_settled(NodeId node, uint64_t bytes) const;
  Result<void> judge_suspects(Pass& pass);
  Result<void> look_at_rest(Pass& pass);
  Result<bool> remove_orphan(ObjectId object);
  void remove_stray(Pass& pass, const std::string& path);
  // What it takes on the disk; nullopt when it is gone.
  Result<std::optional<uint64_t>> allocated(const std::string& path);
  void end(const Result<void>& result);

  io::Disk& disk_;
  catalog::Catalog& catalog_;
  const Host host_;
  const Clock& clock_;
  PassSchedule schedule_;
  Counter& orphans_removed_;
  Counter& strays_removed_;
  Gauge& measured_bytes_;
  Gauge& measured_at_;
  std::unique_ptr<Pass> pass_;  // the one under way

  mutable Mutex mutex_;
  Status status_ GUARDED_BY(mutex_);
};

}  // namespace larder::cache
