// Store: a durable key-value store after FASTER (Chandramouli et al., SIGMOD 2018): a log of
// records and a hash index in memory that points at the newest record of each key.
//
// Keys and values are bytes; the store knows nothing of what they mean.  A batch of changes is one
// frame of the log and is recovered whole or not at all.  After a crash of the process every
// applied batch is there (the log's tail is a shared mapping); after a power loss every batch up to
// the last successful commit, plus possibly later ones, always a prefix.
//
// Thread-safe.  Calls block for local disk I/O at most: get() when the record is no longer in
// memory, commit(), checkpoint(), maintain().  A failed write or sync is sticky: from then on
// apply(), commit(), checkpoint() and maintain() give kPoisoned, get() goes on.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/error.h"
#include "base/metrics.h"
#include "io/disk.h"

namespace larder::journal {

// A byte position in the log; never reused, grows with each record.
struct Address {
  uint64_t value = 0;
  constexpr auto operator<=>(const Address&) const = default;
};

inline constexpr size_t kKeySizeMax = 1024;
inline constexpr size_t kValueSizeMax = 1 << 20;

struct Change {
  std::string key;
  std::optional<std::string> value;  // nullopt: remove the key
};

struct StoreOptions {
  // Size of one log file, and so of the largest batch; counts when the store is made.  8 KiB to 256
  // MiB.
  uint64_t segment_bytes = 16 << 20;
  // With so much log behind the last checkpoint maintain() makes one: replay is bounded.  Should
  // nobody call it, a commit() that finds four times as much does.
  uint64_t checkpoint_after_bytes = 64 << 20;
  // Increments are made until they take this share of the space of a full checkpoint.
  double increments_share = 0.5;
  // Dead records are compacted away when they take more than this share of the log.
  double dead_share = 0.5;
  uint64_t index_buckets_min = 1 << 12;
  uint64_t uuid_salt = 0;  // a random number, so that two stores made at the same time differ
};

struct RecoveryReport {
  bool clean = false;                // ended by close() and nothing had to be replayed, or new
  bool is_new = false;               // there was nothing to recover
  uint64_t checkpoint_sequence = 0;  // 0: none was usable, the whole log was replayed
  uint64_t increments = 0;           // used behind it
  uint64_t checkpoints_rejected = 0;
  Address replayed_from;  // records before it were in the checkpoint
  uint64_t records_replayed = 0;
  uint64_t tail_bytes_dropped = 0;  // a torn tail: the normal trace of a crash
};

class Store {
 public:
  // Creates the store in `directory` of the disk when it is not there.  kCorrupt: damage other than
  // a torn tail, the message says where; kNewerFormat: written by a later version.  In both cases
  // nothing was changed.
  static Result<std::unique_ptr<Store>> open(io::Disk& disk, const std::string& directory,
                                             const StoreOptions& options, Registry& registry,
                                             const Clock& clock);
  // Does not close(): what a crash would leave is left.
  virtual ~Store() = default;

  virtual const RecoveryReport& recovery() const = 0;

  // The value of the key, nullopt when there is none.
  virtual Result<std::optional<std::string>> get(std::string_view key) = 0;
  // Applies all changes or none; visible to get() on return.  Returns the log's end behind them.  A
  // later change of the same key in a batch wins.  May read the disk when it changes a key whose
  // record is no longer in memory, and makes a log file each segment_bytes.  kLimit: the batch is
  // larger than a segment or has more than 65535 changes; kInvalid: a key or value is too long, or
  // a key is empty; kNoSpace: no room for the next log file, nothing was changed and a later call
  // may succeed.
  virtual Result<Address> apply(std::span<const Change> changes) = 0;
  // Returns once everything applied before the call is durable.  Calls at the same time share one
  // sync.
  virtual Result<void> commit() = 0;
  // Saves the index so that recovery starts from here.
  virtual Result<void> checkpoint() = 0;
  // Does one bounded piece of what is due: a checkpoint, a step of compaction, the log's next file,
  // or the removal of a part of the log that nobody needs any more.  True when there is more to do
  // at once.  Delays nobody else noticeably.  No error when the disk is full: it is tried again ten
  // seconds later, at the earliest.  A call while another one runs gives false.
  virtual Result<bool> maintain() = 0;
  // Whether maintain() would find something to do: a few loads and a short lock.
  virtual bool is_maintenance_due() const = 0;
  // Called now and then while changes are appended, so that maintain() gets its turn however few
  // commits there are: under a lock of the store, which `wake` must not use.  Before the first
  // change; nullptr: nobody any more.
  virtual void set_wake(std::function<void()> wake) = 0;
  // commit() and, if anything has changed, checkpoint(), and marks the store as cleanly closed.
  // Only the destructor may follow.
  virtual Result<void> close() = 0;

  // Calls `visit` with each live key and value, in no order, until it returns false.  Changes made
  // meanwhile may or may not be seen; every key that lives throughout is seen exactly once.
  virtual Result<void> scan(
      const std::function<bool(std::string_view key, std::string_view value)>& visit) = 0;

  // The same in stretches: visits about `records_max` records, those whose place in the log comes
  // next from `from` on, and says where to go on; nullopt: that was all.  Every key that lives
  // throughout such a walk is seen at least once, one that is changed meanwhile perhaps again.
  virtual Result<std::optional<Address>> scan_stretch(
      Address from, size_t records_max,
      const std::function<void(std::string_view key, std::string_view value)>& visit) = 0;

  virtual uint64_t key_count() const = 0;
  // Space the records of living keys take in the log, all others could be compacted away.
  virtual uint64_t live_bytes() const = 0;
  virtual uint64_t index_bytes() const = 0;
  // The log's end; what has been appended ever.
  virtual uint64_t log_bytes() const = 0;
  // The sizes of all files in the store's directory (segments take theirs in full when they are
  // made), those being made included.  An atomic load.
  virtual uint64_t disk_bytes() const = 0;
  // By how much disk_bytes() may grow before the next look at it: the next log files and a full
  // checkpoint.  A few atomic loads.
  virtual uint64_t headroom_bytes() const = 0;
  // The sticky error, if there is one.
  virtual std::optional<Error> poisoned() const = 0;
};

}  // namespace larder::journal
