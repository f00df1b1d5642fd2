// What the files of cache/ work with.  Everything referred to outlives them.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/clock.h"
#include "base/metrics.h"
#include "buffer/pool.h"
#include "cache/mapped_objects.h"
#include "cache/open_files.h"
#include "cache/residents.h"
#include "cache/rules.h"
#include "catalog/catalog.h"
#include "io/async_semaphore.h"
#include "memory/block_cache.h"
#include "object/objects.h"

namespace larder::cache {

class Claims;

struct Options {
  uint8_t block_shift = 17;                 // of new objects: 128 KiB
  uint64_t readahead_max_bytes = 16 << 20;  // per reader
  uint64_t fetch_bytes_max = 256 << 10;     // one source read, when blocks are smaller
  // An object that holds more is not evicted whole: its end is punched out, chunk by chunk.  As
  // much takes about as long to fetch again as a few seeks, so losing all of it for a little room
  // would cost more than the bookkeeping.
  uint64_t evict_whole_bytes_max = 64 << 20;
  // The last run did not end cleanly: objects may hold bytes that no record tells of.
  bool is_after_crash = false;
  Rules rules = {};
};

struct Metrics {
  explicit Metrics(Registry& registry);
  Counter& hits_memory;
  Counter& hits_disk;
  Counter& misses;
  Counter& bytes_memory;
  Counter& bytes_disk;
  Counter& bytes_source;
  Counter& fetches;
  Counter& fetch_joins;
  Counter& bypassed;
  Counter& invalidations;
  Counter& claims;
  Counter& punched_bytes;
  Counter& store_errors;
  Gauge& fetches_in_flight;
  Histogram& hit_latency;
  Histogram& miss_latency;
};

// Orders the changes made through this mount and the questions asked of the source; each is a tick
// of its own.  An answer to a question that was asked before a change ended says nothing about what
// is here now, and one to an earlier question nothing that the answer to a later one did not say.
// Thread-safe.
class ChangeClock {
 public:
  uint64_t tick() { return now_.fetch_add(1, std::memory_order_acq_rel) + 1; }

 private:
  std::atomic<uint64_t> now_{1};
};

struct Environment {
  catalog::Catalog& catalog;
  object::Objects& objects;
  memory::BlockCache& memory;
  buffer::Pool& pool;
  Residents& residents;
  OpenFiles& open_files;
  MappedObjects& mapped;
  Claims& claims;
  Metrics& metrics;
  const Clock& clock;
  io::AsyncSemaphore& fetch_bytes;  // bounds what is being fetched
  ChangeClock& changes;
  Options options;
};

}  // namespace larder::cache
