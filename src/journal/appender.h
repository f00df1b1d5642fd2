// Appender: planning of batches, finding of keys in their chains, and the writing of frames.
//
// Locks, in this order: the log's mutex (who appends), one shard's mutex (who looks at an entry or
// at the mapped tail).  None is held while the disk is read or synced.
//
// Invariants
//   - The chain of an index entry (its record and those reached through previous addresses, down to
//     the log's begin) has the newest record of each live key of that entry before any older one of
//     the same key.
//   - The log's live counts are those of the records that are their live key's newest.  A key that
//     is put changes them by the difference to the record it supersedes, a moved one not at all.
#pragma once

#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "base/metrics.h"
#include "format/frame.h"
#include "journal/index.h"
#include "journal/log.h"
#include "journal/record_reader.h"
#include "journal/segments.h"
#include "journal/store.h"

namespace larder::journal {

// Thread-safe.
class Appender {
 public:
  // `cold_reads` counts records read from the disk.
  Appender(Segments& segments, Index& index, Log& log, Registry& registry, Counter& cold_reads);

  // Store::apply().
  Result<Address> apply(std::span<const Change> changes);

  // Whether the record, of which this is the hash, may be its key's newest.  False is certain.
  // Costs no look at the disk.
  bool may_be_newest(const format::RecordView& record, uint64_t hash) const;
  // Appends those of the records that are their key's newest again, in one frame, so that they no
  // longer count where they are; returns how many they were.  Together at most as apply() takes;
  // all are of living keys.
  Result<size_t> move(std::span<const format::RecordView> records);
  // Takes the entry of a removed key away if this record, its removal, is all that its chain holds.
  // To be called when all live records before it were moved.
  void drop_removal(const format::RecordView& record);

  uint64_t hash_of(std::string_view key) const { return hash64(key, segments_.files().seed); }

 private:
  // A key in its chain, as seen from the chain's head.
  struct Resolved {
    bool is_known = false;  // false: the head has changed, or a record is not in memory
    uint64_t begin = 0;     // the log's, when the head was taken
    uint64_t head = 0;
    uint64_t newest = 0;    // the key's newest record, 0: none
    uint64_t space = 0;     // of that record, if the key lives, else 0
    uint64_t previous = 0;  // what a new record of the key has to point at

    bool is_live() const { return space != 0; }
  };
  // One change of a batch on its way into the log.
  struct Planned {
    std::string_view key;
    std::optional<std::string_view> value;
    size_t place = 0;        // in the caller's order
    uint64_t only_from = 0;  // not 0: only while the key's newest record is at this address
    uint64_t hash = 0;
    Resolved resolved;
    uint64_t address = 0;  // of the record, once it is written; 0: none is needed
  };
  using Batch = std::vector<Planned>;

  static void drop_superseded(Batch& batch);
  Result<void> append(Batch& batch, uint64_t bytes_max) REQUIRES(log_.mutex);
  static void step(Resolved& resolved, const format::RecordView& record);
  Resolved resolve_hot(const Planned& planned) const REQUIRES(log_.mutex);
  Result<void> resolve_cold(Planned& planned);
  Result<void> resolve(Batch& batch, uint64_t bytes_max) REQUIRES(log_.mutex);
  void write(Batch& batch) REQUIRES(log_.mutex);
  void publish(const Planned& planned);

  Segments& segments_;
  Index& index_;
  Log& log_;
  Counter& records_;
  Counter& bytes_;
  Counter& cold_reads_;
};

}  // namespace larder::journal
