// The Store: reading of chains, and the order in which the parts are opened and asked.
//
// Invariants: see journal/appender.h (chains, live counts), journal/log.h (watermarks).  A reader
// takes the log's begin before it looks at the index: all that counted below it is found through
// the index then, and what is below it in a chain is the chain's end.
#pragma once

#include <atomic>
#include <memory>
#include <string>

#include "journal/appender.h"
#include "journal/checkpoint.h"
#include "journal/checkpointer.h"
#include "journal/compaction.h"
#include "journal/group_commit.h"
#include "journal/index.h"
#include "journal/log.h"
#include "journal/log_gauges.h"
#include "journal/record_reader.h"
#include "journal/recovery.h"
#include "journal/segments.h"
#include "journal/sticky_error.h"
#include "journal/store.h"
#include "journal/truncation_holds.h"

namespace larder::journal {

class StoreImpl final : public Store {
 public:
  StoreImpl(StoreFiles files, std::unique_ptr<Index> index, const StoreOptions& options,
            Registry& registry, const Clock& clock);
  // Replays and repairs the log; the first call.
  Result<void> recover(const LoadedCheckpoint& checkpoint);

  const RecoveryReport& recovery() const override { return recovery_; }
  Result<std::optional<std::string>> get(std::string_view key) override;
  Result<Address> apply(std::span<const Change> changes) override;
  Result<void> commit() override;
  Result<void> checkpoint() override { return checkpointer_.take(Checkpointer::Kind::kFull); }
  Result<bool> maintain() override;
  bool is_maintenance_due() const override;
  Result<void> close() override;
  Result<void> scan(
      const std::function<bool(std::string_view key, std::string_view value)>& visit) override;
  Result<std::optional<Address>> scan_stretch(
      Address from, size_t records_max,
      const std::function<void(std::string_view key, std::string_view value)>& visit) override;
  uint64_t key_count() const override { return log_.live().keys; }
  uint64_t live_bytes() const override { return log_.live().bytes; }
  uint64_t index_bytes() const override { return index_->size_bytes(); }
  uint64_t log_bytes() const override { return log_.tail(); }
  uint64_t disk_bytes() const override { return files().sizes->total_bytes(); }
  uint64_t headroom_bytes() const override;
  void set_wake(std::function<void()> wake) override { log_.set_wake(std::move(wake)); }
  std::optional<Error> poisoned() const override { return poison_.get(); }

 private:
  const StoreFiles& files() const { return segments_.files(); }

  // Visits the newest record of each live key.
  Result<void> visit(std::span<const uint64_t> heads, uint64_t begin,
                     const std::function<bool(const format::RecordView&)>& visit);
  Result<void> count_live();

  bool is_truncation_due() const;
  bool wants_begin_recorded() const;
  Result<bool> maintain_step();

  Segments segments_;
  const std::unique_ptr<Index> index_;
  StickyError poison_;
  Log log_;
  GroupCommit commit_;
  Counter& cold_reads_;
  Appender appender_;
  TruncationHolds holds_;
  Checkpointer checkpointer_;
  Compaction compaction_;
  LogGauges gauges_;
  RecoveryReport recovery_;
  std::atomic<bool> is_maintaining_{false};  // whoever set it has compaction_ to himself
};

}  // namespace larder::journal
