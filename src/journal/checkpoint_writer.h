// CheckpointWriter: makes full checkpoints and increments, phase by phase (checkpoint_phase.h),
// while requests go on.
//
// What it costs others: a full one holds one shard's mutex at a time while it copies that shard,
// for which readers do not wait; an increment reads the log and holds nothing.
#pragma once

#include <cstdint>
#include <vector>

#include "journal/checkpoint_file.h"
#include "journal/checkpoint_phase.h"
#include "journal/group_commit.h"
#include "journal/index.h"
#include "journal/log.h"
#include "journal/segments.h"

namespace larder::journal {

// One caller at a time; phase() at any time.
class CheckpointWriter {
 public:
  CheckpointWriter(Segments& segments, Index& index, Log& log, GroupCommit& commit)
      : segments_(segments), index_(index), log_(log), commit_(commit) {}

  // Each returns the header of the new checkpoint, which was read back and verified; the phase is
  // then kRetire, for finish() to end.  After an error the phase is kIdle, and what was there
  // before still is.
  Result<format::CheckpointBody> write_full(uint64_t sequence, bool is_clean);
  // Of the log from `from` on, behind the full checkpoint.
  Result<format::CheckpointBody> write_increment(uint64_t sequence, uint64_t full, uint64_t from);
  void finish() { progress_.enter(CheckpointPhase::kIdle); }

  CheckpointPhase phase() const { return progress_.phase(); }

 private:
  template <class WritePages>
  Result<format::CheckpointBody> write(const CheckpointKind& kind, format::CheckpointBody body,
                                       WritePages&& write_pages);
  template <class WritePages>
  Result<void> run(const CheckpointKind& kind, format::CheckpointBody& body,
                   WritePages&& write_pages);
  Result<void> write_shards(PagedWriter& pages, const std::string& name,
                            format::CheckpointBody& body);
  Result<void> write_events(PagedWriter& pages, const std::string& name,
                            format::CheckpointBody& body);
  const StoreFiles& files() const { return segments_.files(); }

  Segments& segments_;
  Index& index_;
  Log& log_;
  GroupCommit& commit_;
  CheckpointProgress progress_;
};

}  // namespace larder::journal
