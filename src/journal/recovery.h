// Recovery: from a checkpoint and the log behind it to the state before the crash.
//
// The log's intact prefix counts.  What follows it is either the torn tail of a crash, dropped, or
// damage to bytes that were durable, reported and left alone.  The difference: every frame says up
// to where the log was durable when it was written, as does a checkpoint; damage is before such a
// watermark, a torn tail is not.  (Valid frames behind the break alone prove nothing: unsynced
// pages are written in any order.)
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "journal/checkpoint.h"
#include "journal/index.h"
#include "journal/log.h"
#include "journal/segments.h"

namespace larder::journal {

struct ReplayedLog {
  // The intact prefix ends at the tail; durable is what is known to be.
  Watermarks watermarks;
  // With the last frame; nullopt: neither checkpoint nor frames say (all are of version 1).
  std::optional<LiveCounts> live;
  uint64_t first_segment = 0;  // the lowest there is
  uint64_t records = 0;
  uint64_t dropped_bytes = 0;
  std::vector<uint64_t> segments_behind;  // numbers of segments after the tail's
};

// What to do about bytes that were durable once and do not verify.
enum class OnDamage {
  kFail,  // kCorrupt
  kStop,  // what is before them is the log: for who salvages
};

// Replays the log from the checkpoint on into the index, or, without a checkpoint, all of it.
// Changes nothing on the disk.
Result<ReplayedLog> replay_log(Segments& segments, const LoadedCheckpoint& checkpoint, Index& index,
                               OnDamage on_damage = OnDamage::kFail);

// Makes the disk fit for appending at the tail: what was dropped is removed for good, so that no
// later recovery can take it for new.  Returns the segment of the tail.
Result<std::shared_ptr<MappedSegment>> repair_log(Segments& segments, const ReplayedLog& replayed);

}  // namespace larder::journal
