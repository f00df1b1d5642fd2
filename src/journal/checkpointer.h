// Checkpointer: when a checkpoint is due and of which kind, which ones are kept, and how much of
// the log they still need.
//
// Invariants
//   - The newest full checkpoint that verified and the usable one before it are kept, with their
//     increments; another is removed only when a newer full one has been read back and verified.
//   - What is below removable_below() is needed by neither: the newest has it that nothing below
//     counts, and replay for the one before it begins behind it.  (Entries of that older image
//     which point below are superseded by the replay: what counted was moved, and the newest
//     checkpoint came after its move had been synced.)
//   - An increment begins where the checkpoint before it ends, and there is one only behind a full
//     checkpoint that verified.
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>

#include "base/clock.h"
#include "base/metrics.h"
#include "base/mutex.h"
#include "journal/checkpoint.h"
#include "journal/checkpoint_writer.h"
#include "journal/sticky_error.h"
#include "journal/store.h"

namespace larder::journal {

// Thread-safe.
class Checkpointer {
 public:
  enum class Kind { kFull, kCleanFull, kIncrement };

  Checkpointer(Segments& segments, Index& index, Log& log, GroupCommit& commit, StickyError& poison,
               const StoreOptions& options, Registry& registry, const Clock& clock);
  // What is there already; before all others.
  Result<void> start(const LoadedCheckpoint& loaded);

  // One at a time; waits for one that runs.  An error other than of space or of a damaged log is
  // sticky.
  Result<void> take(Kind kind) EXCLUDES(mutex_);

  // What maintain() should do now.
  std::optional<Kind> due() const;
  // The committer has to do it himself: nobody else does.
  bool is_overdue() const;
  bool is_running() const { return writer_.phase() != CheckpointPhase::kIdle; }
  // False for a while after a checkpoint that failed.
  bool may_try() const;
  // Nothing was appended since the last checkpoint, which was written by a clean close.
  bool is_clean() const;
  // Log address: see above.
  uint64_t removable_below() const { return removable_below_.load(std::memory_order_relaxed); }
  uint64_t full_bytes() const { return full_bytes_.load(std::memory_order_relaxed); }

 private:
  // A full checkpoint that is kept.
  struct Kept {
    uint64_t sequence = 0;  // 0: none
    uint64_t begin = 0;
    uint64_t replay_from = 0;
  };

  Result<void> write(Kind kind);
  Result<void> retire();
  void set_removable();
  bool is_too_much_behind(uint64_t bytes) const;

  const StoreFiles& files_;
  const Log& log_;
  StickyError& poison_;
  const StoreOptions options_;
  const Clock& clock_;
  CheckpointWriter writer_;

  // Of the thread that has is_taking_.
  uint64_t sequence_ = 0;  // the last one given out
  Kept newest_;
  Kept older_;

  std::atomic<uint64_t> covered_until_{0};  // log address: replay would begin here
  std::atomic<uint64_t> clean_end_{0};      // log address: a clean close left the log so
  std::atomic<uint64_t> full_bytes_{0};     // size of the newest full one; 0: there is none
  std::atomic<uint64_t> increment_bytes_{0};
  std::atomic<bool> may_increment_{false};
  std::atomic<uint64_t> removable_below_{0};
  std::atomic<int64_t> retry_at_ns_{INT64_MIN};

  Mutex mutex_;
  bool is_taking_ GUARDED_BY(mutex_) = false;
  CondVar taken_;

  Histogram& durations_;
  Counter& fulls_;
  Counter& increments_;
  Gauge& taken_at_seconds_;
  Gauge& bytes_;
};

}  // namespace larder::journal
