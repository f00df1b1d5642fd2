// Checkpoints as recovery reads them: the index in a file, and increments that carry it on, so that
// only the log behind them is replayed.
//
// A full checkpoint is made while requests go on: each shard is copied under its lock and carries
// the log address of that moment, so replay from the lowest of them, skipping in each shard what it
// has, gives a consistent index.  (FASTER's CPR has one version for the whole index; one per shard
// needs no coordination between the threads.)  An increment is the replay of a stretch of the log,
// done beforehand: the last event of each index entry in it.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "journal/checkpoint_file.h"
#include "journal/index.h"
#include "journal/log.h"

namespace larder::journal {

struct LoadedCheckpoint {
  format::CheckpointBody full;  // all zeros: there was none to use
  format::CheckpointBody body;  // of the last increment that was used, else as `full`
  uint64_t full_bytes = 0;      // size of its file
  bool has_live = false;        // the body has live counts (since version 2)
  uint64_t increments = 0;      // used, and the size of their files
  uint64_t increment_bytes = 0;
  uint64_t rejected = 0;  // newer ones that did not verify
  bool has_rejected_increments = false;
  uint64_t sequence_max = 0;  // of all that are there

  std::optional<LiveCounts> live() const {
    if (!has_live) return std::nullopt;
    return LiveCounts{.bytes = body.live_bytes, .keys = body.live_keys};
  }
};

// Loads the newest full checkpoint that verifies into `index`, which is empty (and is again when
// there is none), then its increments in order, as far as they verify.  Those with a higher
// sequence than `newest` count as absent.  kNewerFormat when one is of a later version.  Changes
// nothing.
Result<LoadedCheckpoint> load_newest_checkpoint(const StoreFiles& files,
                                                std::unique_ptr<Index>& index,
                                                uint64_t newest = UINT64_MAX);

// Loads this one alone into `index`, which is empty.  kCorrupt when it does not verify; then
// `index` is fit for nothing more.  Changes nothing.
Result<CheckpointFile> load_full_checkpoint(const StoreFiles& files, uint64_t sequence,
                                            Index& index);

}  // namespace larder::journal
