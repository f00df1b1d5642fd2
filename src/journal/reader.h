// Reader: a store as recovery would find it, without changing anything: for who examines a store.
//
// It uses recovery's own parts and leaves out the repairs that make a store fit for appending.  A
// torn tail counts as dropped, as recovery would drop it.
//
// Not thread-safe.  Nobody may write to the store meanwhile.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "journal/checkpoint.h"
#include "journal/log_runs.h"
#include "journal/log_walk.h"
#include "journal/recovery.h"
#include "journal/segments.h"
#include "journal/superblock.h"

namespace larder::journal {

class Reader {
 public:
  // `files`: of read_superblock() or infer_superblock().
  explicit Reader(StoreFiles files);

  const StoreFiles& files() const { return segments_.files(); }
  Segments& segments() { return segments_; }
  uint64_t segment_count() const { return segment_count_; }

  // Each checkpoint that is there, newest first, looked at by itself.
  struct CheckpointState {
    std::string name;  // of the file
    bool is_increment = false;
    format::CheckpointBody body{};
    std::optional<Error> error{};  // why recovery would pass it over
  };
  Result<std::vector<CheckpointState>> checkpoints();

  // Every frame and record from `address` on (the log's begin for 0); returns where the log ends.
  Result<uint64_t> walk(uint64_t address, LogVisitor& visitor);

  // Loads the index as recovery would; kCorrupt and kNewerFormat as Store::open().
  struct Recovered {
    LoadedCheckpoint checkpoint;
    ReplayedLog log;
    // Of salvage(): it is the state of an earlier time, for later records are out of reach.
    bool is_older = false;
  };
  Result<Recovered> recover();
  // Loads the latest state that can be had when recover() gives kCorrupt: of the checkpoints with
  // the log from there up to its first damage, and the stretches of the log that need no
  // checkpoint.  Should there be none, what the last intact stretch says of its keys.  Either way
  // each key has the value it had at one and the same time, or is absent.
  Result<Recovered> salvage();

  // After one of these two:
  // Live keys by the count that the log carries along; nullopt: it has none.
  std::optional<uint64_t> key_count() const { return key_count_; }
  Result<std::optional<std::string>> get(std::string_view key);
  // Calls `visit` with the newest record of each live key, in the order of the log, until it
  // returns false; and `damaged` for each record on the way that cannot be read.  What the same
  // chain has behind that record is out of reach.
  void scan(const std::function<bool(const format::RecordView& record)>& visit,
            const std::function<void(uint64_t address, const Error& error)>& damaged);

 private:
  CheckpointState state_of(const CheckpointKind& kind, uint64_t sequence) const;
  Result<Recovered> replay(LoadedCheckpoint checkpoint, OnDamage on_damage);
  Result<std::optional<Recovered>> salvage_from_checkpoint();
  Result<Recovered> salvage_run(const LogRun& run);
  Result<void> check_place(const format::RecordView& record, uint64_t head) const;

  Segments segments_;
  std::unique_ptr<Index> index_ = std::make_unique<Index>();
  uint64_t segment_count_ = 0;
  uint64_t begin_;  // records before it count no more
  std::optional<uint64_t> key_count_;
  Counter reads_;
};

}  // namespace larder::journal
