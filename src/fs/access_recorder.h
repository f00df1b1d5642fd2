// AccessRecorder: the accesses of a mount, on their way to whoever records them.
//
// There is at most one recording.  While there is none, an access costs one relaxed load (wants()).
// A recording has a ring of kCapacity entries, made when it begins: noting an access allocates
// nothing, takes one short lock, and is dropped and counted when the ring is full.
//
// A recording that nobody has fetched from for kLease is over: its reader has died.  That is found
// at the next access, at the next call, or when the metrics are looked at.
//
// Invariants
//   - ring_ has kCapacity entries while there is a recording, else none.
//   - wanted_ is kNothing unless there is a recording that was not ended.
//   - Along the ring times never go back.
// Thread-safe; nothing waits.
#pragma once

#include <atomic>
#include <cstdint>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/error.h"
#include "base/ids.h"
#include "base/metrics.h"
#include "base/mutex.h"

namespace larder::fs {

// What was accessed.
struct Access {
  static constexpr uint64_t kWholeFile = UINT64_MAX;

  NodeId node;
  uint64_t block = kWholeFile;
  uint64_t size_bytes = 0;  // of the file or of the block
  int64_t time_s = 0;       // since 1970, as the clock was when the recording began
};

class AccessRecorder {
 public:
  enum class What : uint8_t { kNothing, kOpens, kBlocks };
  static constexpr size_t kCapacity = 65536;
  static constexpr Nanos kLease = std::chrono::seconds(10);

  AccessRecorder(const Clock& clock, Registry& registry);

  // --- for who serves accesses
  // Whether such accesses are recorded now: to be asked first.
  bool wants(What what) const { return wanted_.load(std::memory_order_relaxed) == what; }
  // kOpens.
  void note_open(NodeId node, uint64_t size_bytes);
  // kBlocks: the blocks of a read that lie below the end of the file.
  struct Read {
    NodeId node;
    uint64_t offset = 0;
    uint64_t length = 0;
    uint64_t file_size_bytes = 0;
    uint64_t block_bytes = 0;  // a power of two
  };
  void note_read(const Read& read);

  // --- for who records.  kNotFound: there is no such recording (any more).
  // Begins one; its number, which no other recording of any mount has.  kBusy: there is one.
  Result<uint64_t> begin(What what);
  enum class State { kMore, kIdle, kEnd };
  struct Batch {
    std::vector<Access> accesses;
    uint64_t dropped = 0;  // since the beginning
    // kMore: there are more now; kIdle: not now; kEnd: never, and the recording is gone.
    State state = State::kIdle;
  };
  // The oldest that were not fetched yet, at most so many.
  Result<Batch> fetch(uint64_t recording, size_t accesses_max);
  // Nothing further is recorded; what is left can be fetched.
  Result<void> end(uint64_t recording);
  // The same, and what is left is dropped.
  Result<void> cancel(uint64_t recording);

 private:
  bool is_of(uint64_t recording) REQUIRES(mutex_);
  bool is_over() const REQUIRES(mutex_);
  void clear() REQUIRES(mutex_);
  // Whether such accesses are still wanted, with the lock held; finds out when the lease is over.
  bool accepts(What what) REQUIRES(mutex_);
  void push(const Access& access) REQUIRES(mutex_);
  int64_t time_s() const REQUIRES(mutex_);
  int64_t active();

  const Clock& clock_;
  Counter& accesses_;
  Counter& dropped_total_;
  Gauge& queued_;
  std::atomic<What> wanted_{What::kNothing};

  Mutex mutex_;
  uint64_t recording_ GUARDED_BY(mutex_) = 0;  // 0: none
  Nanos fetched_at_ GUARDED_BY(mutex_){0};     // monotonic
  Nanos wall_offset_ GUARDED_BY(mutex_){0};    // wall clock less monotonic, at the beginning
  uint64_t dropped_ GUARDED_BY(mutex_) = 0;
  std::vector<Access> ring_ GUARDED_BY(mutex_);
  size_t first_ GUARDED_BY(mutex_) = 0;  // the oldest entry
  size_t count_ GUARDED_BY(mutex_) = 0;
};

}  // namespace larder::fs
