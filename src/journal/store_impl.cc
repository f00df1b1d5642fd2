#include "journal/store_impl.h"

#include <algorithm>
#include <vector>

#include "base/log.h"
#include "journal/chains.h"
#include "journal/superblock.h"

namespace larder::journal {

using format::RecordView;

StoreImpl::StoreImpl(StoreFiles files, std::unique_ptr<Index> index, const StoreOptions& options,
                     Registry& registry, const Clock& clock)
    : segments_(std::move(files)),
      index_(std::move(index)),
      log_(segments_, *index_, poison_),
      commit_(log_, registry),
      cold_reads_(registry.counter("larder_journal_cold_reads_total",
                                   "Records read from disk because they were not in memory")),
      appender_(segments_, *index_, log_, registry, cold_reads_),
      holds_(log_),
      checkpointer_(segments_, *index_, log_, commit_, poison_, options, registry, clock),
      compaction_(segments_, log_, appender_, options.dead_share, registry, clock),
      gauges_(registry) {}

Result<void> StoreImpl::recover(const LoadedCheckpoint& checkpoint) {
  TRY_ASSIGN(const ReplayedLog replayed, replay_log(segments_, checkpoint, *index_));
  // Entries that compaction had taken away, or superseded, since the checkpoint was made.
  if (replayed.watermarks.begin > checkpoint.full.begin)
    index_->drop_below(replayed.watermarks.begin);
  // Nothing was changed so far, and nothing is before the store says who may read it.
  TRY(upgrade_superblock(files()));
  TRY_ASSIGN(auto active, repair_log(segments_, replayed));
  log_.start(std::move(active), replayed.watermarks, replayed.live.value_or(LiveCounts{}),
             checkpoint.body.replay_from);
  segments_.set_first(replayed.first_segment);
  TRY(checkpointer_.start(checkpoint));
  if (!replayed.live) TRY(count_live());
  const bool is_whole = replayed.dropped_bytes == 0 && checkpoint.rejected == 0;
  const bool is_new = is_whole && checkpoint.full.sequence == 0 && replayed.records == 0;
  recovery_ = {.clean = is_new || (is_whole && checkpoint.body.is_clean != 0 &&
                                   replayed.watermarks.tail == checkpoint.body.log_end),
               .is_new = is_new,
               .checkpoint_sequence = checkpoint.full.sequence,
               .increments = checkpoint.increments,
               .checkpoints_rejected = checkpoint.rejected,
               .replayed_from = Address{checkpoint.body.replay_from},
               .records_replayed = replayed.records,
               .tail_bytes_dropped = replayed.dropped_bytes};
  gauges_.show(segments_, log_);
  return {};
}

// --- Reading ---

Result<std::optional<std::string>> StoreImpl::get(std::string_view key) {
  if (key.empty() || key.size() > kKeySizeMax) return fail(Code::kInvalid, "key size");
  const uint64_t hash = appender_.hash_of(key);
  while (true) {
    const uint64_t begin = log_.begin();
    uint64_t address = 0;
    {
      const IndexShard& shard = index_->shard_of(hash);
      const ReaderLock lock(shard.mutex);
      for (address = shard.find(hash).address; address >= begin;) {
        const auto record = format::view_record(log_.hot(address), address);
        if (!record) break;
        if (record->key == key) {
          if (record->header.is_tombstone()) return std::nullopt;
          return std::string(record->value);
        }
        address = record->header.previous();
      }
    }
    if (address < begin) return std::nullopt;
    auto value = find_in_chain(segments_, cold_reads_, key, address, begin);
    // A segment that is gone was truncated meanwhile; what counted of it is elsewhere.
    if (value || !value.error().is(Code::kNotFound) || log_.begin() == begin) return value;
  }
}

uint64_t StoreImpl::headroom_bytes() const {
  // Of a full checkpoint: an entry with its part of half empty buckets, and what an empty index
  // takes with the last page.
  constexpr uint64_t kBytesPerKey = 12;
  constexpr uint64_t kBytesMin = 512 << 10;
  // The one that is begun next, and one for what compaction copies meanwhile.
  const uint64_t segments = log_.has_next() ? 1 : 2;
  return segments * files().segment_bytes + kBytesMin + kBytesPerKey * log_.live().keys;
}

// --- Writing ---

Result<Address> StoreImpl::apply(std::span<const Change> changes) {
  TRY(poison_.check());
  TRY_ASSIGN(const Address end, appender_.apply(changes));
  // A log that is never committed must not pile up open files.
  if (log_.has_much_unsynced()) {
    // The batch is applied all the same; the error is sticky and meets the next caller.
    if (auto committed = commit(); !committed) log::warning("{}", committed.error().message());
  }
  return end;
}

// --- Durability ---

Result<void> StoreImpl::commit() {
  TRY(poison_.check());
  TRY(commit_.wait_durable(log_.tail()));
  gauges_.show(segments_, log_);
  if (!checkpointer_.is_overdue()) return {};
  // What was asked for is durable; a checkpoint that fails only makes the next recovery longer.
  const auto kind = checkpointer_.due();
  if (!kind) return {};
  if (auto result = checkpointer_.take(*kind); !result)
    log::warning("no checkpoint of the journal: {}", result.error().message());
  return {};
}

Result<void> StoreImpl::close() {
  TRY(commit());
  if (checkpointer_.is_clean()) return {};
  return checkpointer_.take(Checkpointer::Kind::kCleanFull);
}

// --- Maintenance ---

bool StoreImpl::is_truncation_due() const {
  const uint64_t below = holds_.removable_below(checkpointer_.removable_below());
  return segments_.end_of(segments_.first()) <= below;
}

// Whether a full checkpoint is to say how far compaction has come, so that files can be removed.
// While a pass runs, only when it is worth the writing of two.
bool StoreImpl::wants_begin_recorded() const {
  constexpr uint64_t kSegmentsMin = 4;
  const uint64_t begin = log_.begin();
  const uint64_t recorded = checkpointer_.removable_below();
  if (segments_.number_of(begin) <= segments_.number_of(recorded) || !checkpointer_.may_try())
    return false;
  return !compaction_.is_running() ||
         begin - recorded >= std::max(kSegmentsMin * files().segment_bytes,
                                      kSegmentsMin * checkpointer_.full_bytes());
}

bool StoreImpl::is_maintenance_due() const {
  return !poison_.is_set() && (is_truncation_due() || log_.wants_next() || wants_begin_recorded() ||
                               checkpointer_.due().has_value() || compaction_.is_due());
}

Result<bool> StoreImpl::maintain() {
  TRY(poison_.check());
  if (is_maintaining_.exchange(true, std::memory_order_acquire)) return false;
  auto more = maintain_step();
  gauges_.show(segments_, log_);
  is_maintaining_.store(false, std::memory_order_release);
  return more;
}

Result<bool> StoreImpl::maintain_step() {
  if (is_truncation_due()) {
    if (auto removed =
            segments_.truncate_below(holds_.removable_below(checkpointer_.removable_below()));
        !removed) {
      // Which names are there is not known any more.
      poison_.set(removed.error());
      return fail(removed.error());
    }
    return is_maintenance_due();
  }
  if (log_.wants_next()) {
    // One more try is made when it is needed; until then room may be made.
    if (auto made = log_.prepare_next(); !made) {
      if (poison_.is_set()) return fail(made.error());
      log::warning("no file ahead for the journal: {}", made.error().message());
    }
    return is_maintenance_due();
  }
  const auto due =
      wants_begin_recorded() ? std::optional(Checkpointer::Kind::kFull) : checkpointer_.due();
  if (due) {
    if (auto taken = checkpointer_.take(*due); !taken) {
      if (poison_.is_set()) return fail(taken.error());
      log::warning("no checkpoint of the journal: {}", taken.error().message());
    }
    return is_maintenance_due();
  }
  TRY(compaction_.step());
  if (log_.has_much_unsynced()) TRY(commit_.wait_durable(log_.tail()));
  return is_maintenance_due();
}

}  // namespace larder::journal
