// Scrub: verifies what objects hold against the checksums in the catalog, in the background and at
// a bounded rate.
//
// A pass goes over the records of all nodes, in the order in which they were written, and reads the
// claimed blocks of their objects.  A block that does not verify is dropped
// (CachedFile::drop_bad_blocks): it is fetched again when it is read, or at once where the kernel
// reads the object itself.  A block without a checksum (it was changed in part) is passed over.
// How far a pass has come is kept in the catalog, so that it goes on after a remount.
//
// After a crash the first, urgent pass is over what the crash made doubtful: the files whose
// records were not in the newest checkpoint, which is all that was claimed or changed since it was
// taken.
//
// step() is the janitor's; status() and schedule().request() may be called from any thread.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/metrics.h"
#include "cache/cached_file.h"
#include "cache/pass_schedule.h"
#include "catalog/catalog.h"
#include "object/objects.h"

namespace larder::cache {

class Scrub {
 public:
  static constexpr Nanos kPeriod = std::chrono::hours(24 * 7);
  static constexpr size_t kRecordsPerStep = 16384;
  static constexpr uint64_t kBytesPerStep = 1 << 20;

  struct Options {
    uint64_t bytes_per_second = 0;  // 0: only when it is asked for
  };
  // Notes that the last run did not end cleanly, and that records from there on were written after
  // its last checkpoint; kept until what they name is verified.
  static Result<void> note_doubtful(catalog::Catalog& catalog, journal::Address from);

  // What it asks of others; thread-safe.
  struct Host {
    // The node's file, taken from the catalog if need be; null when it has none.
    std::function<std::shared_ptr<FileOwner>(NodeId)> open;
    // For messages.
    std::function<std::string(NodeId)> path;
    // Blocks of the file were dropped: nobody may go on with what he has read of them.
    std::function<void(NodeId)> blocks_dropped;
  };

  // All outlive it.
  Scrub(catalog::Catalog& catalog, object::Objects& objects, Activity& activity, Host host,
        const Options& options, Registry& registry, const Clock& clock);
  ~Scrub();

  NextStep step();
  PassSchedule& schedule() { return schedule_; }

  struct Status {
    uint64_t passes = 0;  // all of these in this run
    uint64_t blocks = 0;
    uint64_t bytes = 0;
    uint64_t bad_blocks = 0;
  };
  Status status() const;

 private:
  struct Pass;
  struct Object;

  void begin();
  // One bounded piece of the pass; false: it is over.
  Result<bool> advance(Pass& pass);
  Result<void> read_records(Pass& pass);
  Result<void> open_next(Pass& pass);
  bool open(Object& object);
  Result<void> verify_some(Pass& pass);
  Result<bool> verify_block(Object& object, uint64_t block, uint32_t checksum);
  void found_bad(const Object& object, uint64_t chunk);
  void found_missing(const Object& object);
  void end(const Result<void>& result);
  NextStep go_on();
  // Tries again to refetch what is open in passthrough and could not be.
  void heal();

  catalog::Catalog& catalog_;
  object::Objects& objects_;
  const Host host_;
  const Options options_;
  std::optional<journal::Address> doubtful_from_;
  const Clock& clock_;
  PassSchedule schedule_;
  Counter& passes_;
  Counter& blocks_;
  Counter& bytes_;
  Counter& bad_blocks_;
  std::unique_ptr<Pass> pass_;  // the one under way
  std::vector<std::byte> buffer_;
  std::vector<std::shared_ptr<FileOwner>> unhealed_;
  Nanos heal_at_{0};
};

}  // namespace larder::cache
