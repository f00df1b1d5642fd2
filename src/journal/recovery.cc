#include "journal/recovery.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "base/log.h"
#include "format/frame.h"
#include "journal/index_event.h"

namespace larder::journal {
namespace {

using format::FrameHeader;
using format::FrameType;

class Replay {
 public:
  Replay(Segments& segments, const LoadedCheckpoint& checkpoint, Index& index, OnDamage on_damage)
      : segments_(segments),
        floor_(checkpoint.body.log_end),
        stops_at_damage_(on_damage == OnDamage::kStop),
        index_(index) {
    log_.tail = checkpoint.body.replay_from;
    log_.begin = std::max(checkpoint.body.begin, segments.first_frame(0));
    log_.durable = std::max(floor_, log_.begin);
    replayed_.live = checkpoint.live();
  }

  Result<ReplayedLog> run() {
    TRY_ASSIGN(numbers_, segments_.files().list(kSegmentPrefix));
    // Without a checkpoint the log begins with what is left of it.
    if (log_.tail == 0) log_.tail = segments_.first_frame(numbers_.empty() ? 0 : numbers_.front());
    const uint64_t start = segments_.number_of(log_.tail);
    uint64_t number = start;
    while (std::ranges::binary_search(numbers_, number)) {
      if (auto read = read_segment(number); !read) {
        if (stops_at_damage_) return replayed();
        return fail(std::move(read).error());
      }
      TRY_ASSIGN(const bool goes_on, replay_segment(number));
      if (!goes_on && stops_at_damage_) return replayed();
      if (!goes_on) {
        TRY(check_rest(number, log_.tail));
        break;
      }
      ++number;
      log_.tail = segments_.first_frame(number);
    }
    if (stops_at_damage_) return replayed();
    TRY(check_none_missing(std::min(start, segments_.number_of(log_.begin)),
                           std::max(floor_, log_.tail)));
    for (const uint64_t behind : numbers_) {
      if (behind <= number) continue;
      replayed_.segments_behind.push_back(behind);
      TRY(segments_.read_whole(behind, bytes_));
      TRY(check_rest(behind, segments_.first_frame(behind)));
    }
    if (log_.tail < floor_) return damaged(floor_);
    return replayed();
  }

 private:
  ReplayedLog replayed() {
    replayed_.watermarks = log_;
    replayed_.first_segment = numbers_.empty() ? segments_.number_of(log_.tail) : numbers_.front();
    return replayed_;
  }

  Result<void> read_segment(uint64_t number) {
    if (!stops_at_damage_) return segments_.read_whole(number, bytes_);
    // Of one that was cut off, the frames that are left.
    TRY(segments_.read_what_is_there(number, bytes_));
    return {};
  }

  // From segment `first` up to that of `address` (not that one itself if nothing is in it yet).
  Result<void> check_none_missing(uint64_t first, uint64_t address) const {
    const uint64_t last = segments_.number_of(address);
    for (uint64_t number = first; number <= last; ++number) {
      if (number == last && address == segments_.first_frame(last)) break;
      if (!std::ranges::binary_search(numbers_, number))
        return fail(Code::kCorrupt,
                    fmt::format("{} is missing",
                                segments_.files().path(numbered_name(kSegmentPrefix, number))));
    }
    return {};
  }

  std::span<const std::byte> bytes_from(uint64_t number, uint64_t address) const {
    return std::span<const std::byte>(bytes_).subspan(address -
                                                      number * segments_.files().segment_bytes);
  }

  // True when the log goes on in the next segment.
  Result<bool> replay_segment(uint64_t number) {
    while (true) {
      const auto rest = bytes_from(number, log_.tail);
      const auto header = format::parse_frame(rest, log_.tail, segments_.files().seed);
      if (!header) return rest.size() < sizeof(FrameHeader);
      log_.durable = std::max(log_.durable, header->durable);
      log_.begin = std::max(log_.begin, header->begin);
      replayed_.live.reset();
      if (header->version > 1)
        replayed_.live = LiveCounts{.bytes = header->live_bytes, .keys = header->live_keys};
      if (header->type == FrameType::kSegmentEnd) return true;
      const auto payload = rest.subspan(header->header_bytes(), header->payload_bytes);
      if (!format::for_each_record(*header, payload, log_.tail,
                                   [&](const format::RecordView& record) { apply(record); }))
        return fail(Code::kCorrupt,
                    fmt::format("{}: a record exceeds its frame", segments_.place_of(log_.tail)));
      log_.tail += header->size_bytes();
    }
  }

  void apply(const format::RecordView& record) {
    const IndexEvent event = event_of(record, hash64(record.key, segments_.files().seed));
    if (event.apply_to(index_)) ++replayed_.records;
  }

  // Looks through what is not part of the intact prefix, in the segment in bytes_ from `from` on.
  Result<void> check_rest(uint64_t number, uint64_t from) {
    const auto rest = bytes_from(number, from);
    uint64_t used = 0;
    for (uint64_t at = 0; at + format::kAlignment <= rest.size(); at += format::kAlignment) {
      uint64_t word = 0;
      std::memcpy(&word, &rest[at], sizeof word);
      if (word == 0) continue;
      used = at + format::kAlignment;
      const auto header = format::parse_frame(rest.subspan(at), from + at, segments_.files().seed);
      if (header && header->durable > log_.tail) return damaged(header->durable);
    }
    replayed_.dropped_bytes += used;
    return {};
  }

  std::unexpected<Error> damaged(uint64_t durable) const {
    return fail(Code::kCorrupt,
                fmt::format("{}: the log breaks off here, but was durable up to {}",
                            segments_.place_of(log_.tail), segments_.place_of(durable)));
  }

  Segments& segments_;
  const uint64_t floor_;  // must be reached
  const bool stops_at_damage_;
  Index& index_;
  std::vector<uint64_t> numbers_;
  std::vector<std::byte> bytes_;  // the segment being looked at
  Watermarks log_;
  ReplayedLog replayed_;
};

// True when there was something to zero.
bool zero_from(std::span<std::byte> bytes) {
  bool was_dirty = false;
  constexpr size_t kChunk = 4096;
  for (size_t at = 0; at < bytes.size(); at += kChunk) {
    const auto chunk = bytes.subspan(at, std::min(kChunk, bytes.size() - at));
    if (std::ranges::all_of(chunk, [](std::byte b) { return b == std::byte{0}; })) continue;
    std::memset(chunk.data(), 0, chunk.size());
    was_dirty = true;
  }
  return was_dirty;
}

// Writes what is there from `from` to `to` once more: should a sync have failed before the process
// ended, the page cache has these bytes, takes them for written, and would never write them.
Result<void> write_again(const MappedSegment& segment, uint64_t from, uint64_t to) {
  constexpr uint64_t kChunk = 64 << 10;
  std::vector<std::byte> chunk;
  for (; from < to; from += chunk.size()) {
    const auto bytes =
        segment.bytes().subspan(from - segment.begin, std::min<uint64_t>(kChunk, to - from));
    chunk.assign(bytes.begin(), bytes.end());
    TRY(segment.file->write_at(chunk, from - segment.begin));
  }
  return {};
}

}  // namespace

Result<ReplayedLog> replay_log(Segments& segments, const LoadedCheckpoint& checkpoint, Index& index,
                               OnDamage on_damage) {
  return Replay(segments, checkpoint, index, on_damage).run();
}

Result<std::shared_ptr<MappedSegment>> repair_log(Segments& segments, const ReplayedLog& replayed) {
  const StoreFiles& files = segments.files();
  if (replayed.dropped_bytes > 0)
    log::info("{}: dropped {} bytes of a torn tail", segments.place_of(replayed.watermarks.tail),
              replayed.dropped_bytes);
  for (const uint64_t number : replayed.segments_behind) TRY(segments.remove(number));
  if (!replayed.segments_behind.empty()) TRY(files.disk.sync_directory(files.directory));

  const uint64_t last = segments.number_of(replayed.watermarks.tail);
  // What perhaps only the page cache has of full segments; the last one is synced by the next
  // commit.
  for (uint64_t number = segments.number_of(replayed.watermarks.durable); number < last; ++number) {
    TRY_ASSIGN(const auto segment, segments.open_mapped(number));
    TRY(write_again(*segment, std::max(replayed.watermarks.durable, segments.first_frame(number)),
                    segment->end()));
    TRY(segment->file->sync_data());
  }
  auto active = segments.open_mapped(last);
  if (!active && active.error().is(Code::kNotFound)) return segments.create(last);
  if (!active) return active;
  TRY(write_again(**active, std::max(replayed.watermarks.durable, segments.first_frame(last)),
                  replayed.watermarks.tail));
  const auto rest = (*active)->bytes().subspan(replayed.watermarks.tail - (*active)->begin);
  if (zero_from(rest)) TRY((*active)->file->sync_data());
  return active;
}

}  // namespace larder::journal
