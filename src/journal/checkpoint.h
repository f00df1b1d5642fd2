// Checkpoint: the index in a file, so that recovery reads it and replays only the log behind it.
//
// Made while requests go on: each shard is copied under its lock and carries the log address of
// that moment, so replay from the lowest of them, skipping in each shard what it has, gives a
// consistent index.  (FASTER's CPR has one version for the whole index; one per shard needs no
// coordination between the threads.)
#pragma once

#include <cstdint>
#include <optional>

#include "journal/files.h"
#include "journal/group_commit.h"
#include "journal/index.h"
#include "journal/log.h"

namespace larder::journal {

// Older ones than the newest two are removed.
inline constexpr size_t kCheckpointsKept = 2;

// Writes the index as checkpoint `sequence` and returns where replay will begin.  After an error
// the checkpoints that were there still are.  One caller at a time.
Result<uint64_t> write_checkpoint(const StoreFiles& files, uint64_t sequence, bool is_clean,
                                  Index& index, Log& log, GroupCommit& commit);

// Loads this one into `index`, which is empty.  kCorrupt when it does not verify; then `index` is
// fit for nothing more.
Result<format::CheckpointBody> load_checkpoint(const StoreFiles& files, uint64_t sequence,
                                               Index& index);

struct LoadedCheckpoint {
  format::CheckpointBody body;  // all zeros: there was none to use
  uint64_t rejected = 0;        // newer ones that did not verify
  uint64_t sequence_max = 0;    // of all that are there
};
// Loads the newest checkpoint that verifies into `index`, which is empty (and is again when there
// is none).  kNewerFormat when one is of a later version.
Result<LoadedCheckpoint> load_newest_checkpoint(const StoreFiles& files,
                                                std::unique_ptr<Index>& index);

}  // namespace larder::journal
