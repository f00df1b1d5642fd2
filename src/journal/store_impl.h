// The Store: planning of batches, reading of chains, and the order of locks.
//
// Locks, in this order: the log's mutex (who appends), one shard's mutex (who looks at an entry or
// at the mapped tail).  None is held while the disk is read or synced.
//
// Invariant: the chain of an index entry (its record and those reached through previous addresses)
// has the newest record of each live key of that entry before any older one of the same key.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "format/frame.h"
#include "journal/checkpoint.h"
#include "journal/group_commit.h"
#include "journal/index.h"
#include "journal/log.h"
#include "journal/recovery.h"
#include "journal/segments.h"
#include "journal/sticky_error.h"
#include "journal/store.h"

namespace larder::journal {

class StoreImpl final : public Store {
 public:
  StoreImpl(StoreFiles files, std::unique_ptr<Index> index, const LoadedCheckpoint& checkpoint,
            const StoreOptions& options, Registry& registry, const Clock& clock);
  // Replays and repairs the log; the first call.
  Result<void> recover(const LoadedCheckpoint& checkpoint);

  const RecoveryReport& recovery() const override { return recovery_; }
  Result<std::optional<std::string>> get(std::string_view key) override;
  Result<Address> apply(std::span<const Change> changes) override;
  Result<void> commit() override;
  Result<void> checkpoint() override { return checkpoint(false); }
  Result<void> close() override;
  Result<void> scan(
      const std::function<bool(std::string_view key, std::string_view value)>& visit) override;
  uint64_t key_count() const override { return index_->key_count(); }
  uint64_t index_bytes() const override { return index_->size_bytes(); }
  uint64_t log_bytes() const override { return log_.tail(); }
  uint64_t disk_bytes() const override { return files().sizes->total_bytes(); }
  std::optional<Error> poisoned() const override { return poison_.get(); }

 private:
  // A key in its chain, as seen from the chain's head.
  struct Resolved {
    bool is_known =
        false;  // false: the head has changed, or a record in the chain is not in memory
    uint64_t head = 0;
    bool is_live = false;
    uint64_t previous = 0;  // what a new record of the key has to point at
  };
  // One change of a batch on its way into the log.
  struct Planned {
    const Change* change = nullptr;
    uint64_t hash = 0;
    Resolved resolved;
    uint64_t address = 0;  // of the record, once it is written; 0: none is needed
  };
  // A record read from disk, in a stretch of the log that was read with it.
  struct ColdRecord {
    uint64_t begin = 0;  // the address of the stretch
    std::vector<std::byte> bytes;
    format::RecordView view;

    // What is there of the log from the address on.
    std::span<const std::byte> from(uint64_t address) const {
      if (address < begin || address - begin > bytes.size()) return {};
      return std::span(bytes).subspan(address - begin);
    }
  };

  uint64_t hash_of(std::string_view key) const { return hash64(key, files().seed); }
  const StoreFiles& files() const { return segments_.files(); }

  Result<std::optional<std::string>> get_cold(std::string_view key, uint64_t address);
  // Reads so many bytes of the log, unless the stretch read last has the record.
  static constexpr size_t kReadBytes = 4096;
  Result<void> read_record(uint64_t address, ColdRecord& into, size_t read_bytes = kReadBytes);
  Result<void> read_stretch(uint64_t address, ColdRecord& into, size_t read_bytes);

  Result<void> plan(std::span<const Change> changes, std::vector<Planned>& batch,
                    uint64_t& bytes_max);
  static void step(Resolved& resolved, const format::RecordView& record, bool is_match);
  Resolved resolve_hot(const Planned& planned) REQUIRES(log_.mutex);
  Result<void> resolve_cold(Planned& planned);
  Result<void> resolve(std::vector<Planned>& batch, uint64_t bytes_max) REQUIRES(log_.mutex);
  void write(std::vector<Planned>& batch) REQUIRES(log_.mutex);
  void publish(const Planned& planned);

  Result<void> checkpoint(bool is_clean);

  Segments segments_;
  const std::unique_ptr<Index> index_;
  StickyError poison_;
  Log log_;
  GroupCommit commit_;
  RecoveryReport recovery_;
  const StoreOptions options_;
  const Clock& clock_;

  Counter& records_;
  Counter& bytes_;
  Counter& cold_reads_;
  Histogram& checkpoints_;

  Mutex checkpoint_mutex_;
  bool is_checkpointing_ GUARDED_BY(checkpoint_mutex_) = false;
  uint64_t checkpoint_sequence_ GUARDED_BY(checkpoint_mutex_);
  CondVar checkpointed_;
  std::atomic<uint64_t> replay_from_;  // where recovery would begin now
};

}  // namespace larder::journal
