#include "journal/checkpointer.h"

#include <algorithm>

#include "base/log.h"

namespace larder::journal {
namespace {

constexpr uint64_t kOverdueFactor = 4;
constexpr Nanos kRetryAfter = std::chrono::seconds(10);

}  // namespace

Checkpointer::Checkpointer(Segments& segments, Index& index, Log& log, GroupCommit& commit,
                           StickyError& poison, const StoreOptions& options, Registry& registry,
                           const Clock& clock)
    : files_(segments.files()),
      log_(log),
      poison_(poison),
      options_(options),
      clock_(clock),
      writer_(segments, index, log, commit),
      durations_(registry.histogram("larder_journal_checkpoint_seconds",
                                    "Duration of the journal's checkpoints")),
      fulls_(registry.counter("larder_journal_checkpoints_total",
                              "Checkpoints of the journal that were made", {{"kind", "full"}})),
      increments_(registry.counter("larder_journal_checkpoints_total",
                                   "Checkpoints of the journal that were made",
                                   {{"kind", "increment"}})),
      taken_at_seconds_(registry.gauge("larder_journal_checkpoint_time_seconds",
                                       "When this process made its last checkpoint, since 1970; "
                                       "0: it made none")),
      bytes_(registry.gauge("larder_journal_checkpoint_bytes",
                            "Size of the newest full checkpoint and its increments")) {}

Result<void> Checkpointer::start(const LoadedCheckpoint& loaded) {
  sequence_ = loaded.sequence_max;
  if (loaded.full.sequence == 0) return {};
  newest_ = {.sequence = loaded.full.sequence,
             .begin = loaded.full.begin,
             .replay_from = loaded.full.replay_from};
  // Its pages are not looked at before they are needed.
  TRY_ASSIGN(const std::vector<uint64_t> sequences, files_.list(kCheckpointPrefix));
  for (const uint64_t sequence : sequences) {
    if (sequence >= newest_.sequence) break;
    if (const auto older = open_checkpoint(files_, kFullFile, sequence))
      older_ = {
          .sequence = sequence, .begin = older->body.begin, .replay_from = older->body.replay_from};
  }
  covered_until_ = loaded.body.replay_from;
  if (loaded.full.is_clean != 0 && loaded.increments == 0 && loaded.rejected == 0)
    clean_end_ = loaded.full.log_end;
  full_bytes_ = loaded.full_bytes;
  increment_bytes_ = loaded.increment_bytes;
  may_increment_ = loaded.rejected == 0 && !loaded.has_rejected_increments;
  bytes_.set(static_cast<int64_t>(loaded.full_bytes + loaded.increment_bytes));
  set_removable();
  return {};
}

bool Checkpointer::may_try() const {
  return clock_.monotonic().count() >= retry_at_ns_.load(std::memory_order_relaxed);
}

bool Checkpointer::is_clean() const {
  return clean_end_.load() == log_.tail();
}

bool Checkpointer::is_too_much_behind(uint64_t bytes) const {
  return log_.tail() - covered_until_.load(std::memory_order_relaxed) >= bytes;
}

std::optional<Checkpointer::Kind> Checkpointer::due() const {
  if (!is_too_much_behind(options_.checkpoint_after_bytes) || !may_try()) return std::nullopt;
  const double increments_max = options_.increments_share * static_cast<double>(full_bytes_.load());
  const bool has_room = static_cast<double>(increment_bytes_.load()) < increments_max;
  return may_increment_ && has_room ? Kind::kIncrement : Kind::kFull;
}

bool Checkpointer::is_overdue() const {
  const uint64_t after = options_.checkpoint_after_bytes;
  return after <= UINT64_MAX / kOverdueFactor && is_too_much_behind(after * kOverdueFactor) &&
         !is_running() && may_try();
}

Result<void> Checkpointer::take(Kind kind) {
  TRY(poison_.check());
  {
    const MutexLock lock(mutex_);
    while (is_taking_) taken_.wait(mutex_);
    is_taking_ = true;
  }
  Result<void> result;
  {
    const Timed timed(durations_, clock_);
    result = write(kind);
  }
  if (!result) {
    // A full disk or a damaged sector leaves the log as good as it was.
    const Error& error = result.error();
    if (!error.is(Code::kNoSpace) && !error.is(Code::kNoDescriptors) && !error.is(Code::kCorrupt))
      poison_.set(error);
    retry_at_ns_ = (clock_.monotonic() + kRetryAfter).count();
    // Of a log that cannot be read no increment can be made, nor one behind a damaged one.
    may_increment_ = false;
  }
  const MutexLock lock(mutex_);
  is_taking_ = false;
  taken_.notify_all();
  return result;
}

Result<void> Checkpointer::write(Kind kind) {
  const bool is_increment = kind == Kind::kIncrement;
  const uint64_t sequence = ++sequence_;
  auto made = is_increment
                  ? writer_.write_increment(sequence, newest_.sequence, covered_until_.load())
                  : writer_.write_full(sequence, kind == Kind::kCleanFull);
  TRY_ASSIGN(const format::CheckpointBody body, std::move(made));
  const uint64_t bytes = format::kHeaderPageBytes + body.page_count * kPageBytes;
  covered_until_ = body.replay_from;
  Result<void> retired;
  if (is_increment) {
    increment_bytes_ += bytes;
    increments_.add();
  } else {
    older_ = newest_;
    newest_ = {.sequence = sequence, .begin = body.begin, .replay_from = body.replay_from};
    clean_end_ = kind == Kind::kCleanFull ? body.log_end : 0;
    full_bytes_ = bytes;
    increment_bytes_ = 0;
    may_increment_ = true;
    set_removable();
    fulls_.add();
    retired = retire();
  }
  writer_.finish();
  taken_at_seconds_.set(std::chrono::duration_cast<std::chrono::seconds>(clock_.wall()).count());
  bytes_.set(static_cast<int64_t>(full_bytes_.load() + increment_bytes_.load()));
  return retired;
}

// Removes all full checkpoints but the two that are kept, and the increments of those before.
Result<void> Checkpointer::retire() {
  TRY_ASSIGN(const std::vector<uint64_t> fulls, files_.list(kCheckpointPrefix));
  for (const uint64_t sequence : fulls)
    if (sequence != newest_.sequence && sequence != older_.sequence)
      TRY(files_.remove(kFullFile.name(sequence)));
  const uint64_t oldest = older_.sequence != 0 ? older_.sequence : newest_.sequence;
  TRY_ASSIGN(const std::vector<uint64_t> increments, files_.list(kIncrementPrefix));
  for (const uint64_t sequence : increments)
    if (sequence < oldest) TRY(files_.remove(kIncrementFile.name(sequence)));
  return {};
}

void Checkpointer::set_removable() {
  const uint64_t needed = older_.sequence != 0 ? older_.replay_from : newest_.begin;
  removable_below_ = std::min(newest_.begin, needed);
}

}  // namespace larder::journal
