#include "journal/compaction.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/check.h"
#include "base/log.h"

namespace larder::journal {
namespace {

constexpr Nanos kRetryAfter = std::chrono::seconds(10);
// A pass goes on until the dead share is this much of the one it began at.
constexpr double kEnoughOfShare = 0.75;

}  // namespace

Compaction::Compaction(Segments& segments, Log& log, Appender& appender, double dead_share,
                       Registry& registry, const Clock& clock)
    : segments_(segments),
      log_(log),
      appender_(appender),
      dead_share_(dead_share),
      batch_bytes_(
          std::min(kBatchBytesMax, segments.files().segment_bytes / kBatchesPerSegmentMin)),
      clock_(clock),
      passes_(registry.counter("larder_journal_compaction_passes_total",
                               "Passes of the journal's compaction that ended")),
      seen_bytes_(registry.counter("larder_journal_compacted_bytes_total",
                                   "Bytes of the log that compaction has gone through")),
      moved_records_(registry.counter("larder_journal_moved_records_total",
                                      "Live records that compaction appended again")),
      moved_bytes_(registry.counter("larder_journal_moved_bytes_total", "Their space in the log")) {
}

bool Compaction::has_too_much_dead(double share) const {
  const Watermarks at = log_.watermarks();
  const uint64_t used = at.tail - at.begin;
  const uint64_t live = std::min(log_.live().bytes, used);
  return used > kSegmentsMin * segments_.files().segment_bytes &&
         static_cast<double>(used - live) > share * static_cast<double>(used);
}

bool Compaction::is_due() const {
  if (is_halted_.load(std::memory_order_relaxed) ||
      clock_.monotonic().count() < retry_at_ns_.load(std::memory_order_relaxed))
    return false;
  if (is_running()) return true;
  const Watermarks at = log_.watermarks();
  return at.tail >= resume_at_.load(std::memory_order_relaxed) &&
         segments_.number_of(at.durable) > segments_.number_of(at.begin) &&
         has_too_much_dead(dead_share_);
}

void Compaction::begin_pass() {
  // Whole segments that are durable; the active one is not among them.
  const Watermarks at = log_.watermarks();
  const uint64_t to = segments_.first_frame(segments_.number_of(at.durable));
  reader_ = std::make_unique<LogReader>(segments_, at.begin, to);
  is_running_.store(true, std::memory_order_relaxed);
}

void Compaction::end_pass() {
  reader_.reset();
  bytes_.clear();
  addresses_.clear();
  is_running_.store(false, std::memory_order_relaxed);
}

Result<bool> Compaction::step() {
  if (!is_due()) return false;
  if (!reader_) begin_pass();
  auto more = run();
  if (more) return more;
  // What was gone through but not to the end of its segment is gone through again.
  end_pass();
  const Error& error = more.error();
  if (error.is(Code::kNoSpace) || error.is(Code::kNoDescriptors)) {
    retry_at_ns_.store((clock_.monotonic() + kRetryAfter).count(), std::memory_order_relaxed);
    return false;
  }
  if (error.is(Code::kCorrupt) || error.is(Code::kLimit)) {
    is_halted_.store(true, std::memory_order_relaxed);
    log::error("the journal is not compacted any more: {}", error.message());
    return false;
  }
  return more;
}

Result<bool> Compaction::run() {
  const uint64_t from = reader_->position();
  bool is_at_end = false;
  while (!is_at_end && reader_->position() - from < kStepBytes) {
    TRY_ASSIGN(const auto frame, reader_->next());
    is_at_end = !frame.has_value();
    if (is_at_end) break;
    const bool is_whole =
        format::for_each_record(frame->header, frame->payload, frame->address,
                                [this](const format::RecordView& record) { consider(record); });
    if (!is_whole)
      return fail(Code::kCorrupt, fmt::format("{}: a record exceeds its frame",
                                              segments_.place_of(frame->address)));
    if (bytes_.size() >= batch_bytes_) TRY(flush());
  }
  TRY(flush());
  seen_bytes_.add(reader_->position() - from);
  TRY_ASSIGN(const bool has_advanced, advance_begin());
  const bool is_enough = has_advanced && !has_too_much_dead(dead_share_ * kEnoughOfShare);
  if (!is_at_end && !is_enough) return true;
  // All of the log was rewritten and it still was not enough: no more before it has grown.
  if (is_at_end)
    resume_at_.store(log_.tail() + std::max(kSegmentsMin * segments_.files().segment_bytes,
                                            log_.live().bytes / 4),
                     std::memory_order_relaxed);
  end_pass();
  passes_.add();
  return false;
}

void Compaction::consider(const format::RecordView& record) {
  if (!appender_.may_be_newest(record, appender_.hash_of(record.key))) return;
  const auto* begin = reinterpret_cast<const std::byte*>(record.key.data()) - sizeof record.header;
  bytes_.insert(bytes_.end(), begin, begin + record.header.space());
  addresses_.push_back(record.address);
}

// Moves what was collected, in batches that hold the log's mutex for a moment only.
Result<void> Compaction::flush() {
  std::vector<format::RecordView> live;
  std::vector<format::RecordView> removals;
  uint64_t batch_bytes = 0;
  const auto move = [&]() -> Result<void> {
    if (live.empty()) return {};
    TRY_ASSIGN(const size_t moved, appender_.move(live));
    moved_records_.add(moved);
    moved_bytes_.add(batch_bytes);
    live.clear();
    batch_bytes = 0;
    return {};
  };
  std::span<const std::byte> rest(bytes_);
  for (const uint64_t address : addresses_) {
    const auto record = format::view_record(rest, address);
    CHECK(record.has_value());
    const uint64_t space = record->header.space();
    rest = rest.subspan(space);
    if (record->header.is_tombstone()) {
      removals.push_back(*record);
      continue;
    }
    if (batch_bytes + space > batch_bytes_) TRY(move());
    live.push_back(*record);
    batch_bytes += space;
  }
  TRY(move());
  // Only now: all that lived before them has been moved.
  for (const format::RecordView& removal : removals) appender_.drop_removal(removal);
  bytes_.clear();
  addresses_.clear();
  return {};
}

// True when a segment was gone through to its end.
Result<bool> Compaction::advance_begin() {
  const uint64_t begin = segments_.first_frame(segments_.number_of(reader_->position()));
  if (begin <= log_.begin()) return false;
  TRY(log_.advance_begin(begin));
  return true;
}

}  // namespace larder::journal
