// Compaction: takes the log's space back from records that are dead.
//
// It goes through the log from its begin, a bounded piece at a time.  A record that is its key's
// newest is appended again, on condition that it still is when the log's mutex is held; the removal
// of a key is left behind, and its index entry goes with it when nothing else is in its chain. What
// was gone through to the end of a segment no longer counts: the log's begin moves there.  Files
// are removed later, when checkpoints allow it (journal/checkpointer.h).
//
// A pass begins when dead records take more than a share of the log and ends at the end of a
// segment when they take clearly less, at the latest where the log was durable when it began. After
// one that got so far the log has to grow before the next, so overhead that cannot be compacted
// away (large batches in small segments) does not keep it busy.
//
// Invariant: when a record was gone through, no record before it is its key's newest.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/clock.h"
#include "base/metrics.h"
#include "journal/appender.h"
#include "journal/log.h"
#include "journal/log_reader.h"
#include "journal/segments.h"

namespace larder::journal {

// One caller of step() at a time; the rest is thread-safe.
class Compaction {
 public:
  Compaction(Segments& segments, Log& log, Appender& appender, double dead_share,
             Registry& registry, const Clock& clock);

  // A step has something to do.
  bool is_due() const;
  // A pass has begun and not ended.
  bool is_running() const { return is_running_.load(std::memory_order_relaxed); }
  // Looks at a piece of the log.  True when there is more to do at once.  A full disk ends the pass
  // for a while; damage in the log (kCorrupt, logged) ends compaction for good: what cannot be read
  // is not given up.
  Result<bool> step();

 private:
  static constexpr uint64_t kSegmentsMin = 4;  // below that the log is not worth it
  static constexpr uint64_t kStepBytes = 1 << 20;
  // Appended under one hold of the log's mutex: about 50 us.  In small segments less, as a batch
  // that does not fit leaves the rest of a segment empty.
  static constexpr uint64_t kBatchBytesMax = 16 << 10;
  static constexpr uint64_t kBatchesPerSegmentMin = 16;

  bool has_too_much_dead(double share) const;
  Result<bool> run();
  void consider(const format::RecordView& record);
  Result<void> flush();
  Result<bool> advance_begin();
  void begin_pass();
  void end_pass();

  Segments& segments_;
  Log& log_;
  Appender& appender_;
  const double dead_share_;
  const uint64_t batch_bytes_;
  const Clock& clock_;

  std::unique_ptr<LogReader> reader_;  // of the pass
  std::vector<std::byte> bytes_;     // records that may be their key's newest, one behind the other
  std::vector<uint64_t> addresses_;  // where they are in the log

  std::atomic<bool> is_running_{false};
  std::atomic<bool> is_halted_{false};
  std::atomic<uint64_t> resume_at_{0};  // no pass before the tail is there
  std::atomic<int64_t> retry_at_ns_{INT64_MIN};

  Counter& passes_;
  Counter& seen_bytes_;
  Counter& moved_records_;
  Counter& moved_bytes_;
};

}  // namespace larder::journal
