#include "journal/recovery.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "base/log.h"
#include "format/frame.h"

namespace larder::journal {
namespace {

using format::FrameHeader;
using format::FrameType;

class Replay {
 public:
  Replay(Segments& segments, const format::CheckpointBody& checkpoint, Index& index,
         OnDamage on_damage)
      : segments_(segments),
        floor_(checkpoint.log_end),
        index_(index),
        stops_at_damage_(on_damage == OnDamage::kStop) {
    log_.tail = std::max(checkpoint.replay_from, segments.first_frame(0));
    log_.durable = floor_;
  }

  Result<ReplayedLog> run() {
    TRY_ASSIGN(numbers_, segments_.files().list(kSegmentPrefix));
    uint64_t number = segments_.number_of(log_.tail);
    if (!stops_at_damage_) TRY(check_none_missing(std::max(floor_, log_.tail)));
    while (std::ranges::binary_search(numbers_, number)) {
      if (auto read = segments_.read_whole(number, bytes_); !read) {
        if (stops_at_damage_) return log_;
        return fail(std::move(read).error());
      }
      TRY_ASSIGN(const bool goes_on, replay_segment(number));
      if (!goes_on && stops_at_damage_) return log_;
      if (!goes_on) {
        TRY(check_rest(number, log_.tail));
        break;
      }
      ++number;
      log_.tail = segments_.first_frame(number);
    }
    if (stops_at_damage_) return log_;
    for (const uint64_t behind : numbers_) {
      if (behind <= number) continue;
      log_.segments_behind.push_back(behind);
      TRY(segments_.read_whole(behind, bytes_));
      TRY(check_rest(behind, segments_.first_frame(behind)));
    }
    if (log_.tail < floor_) return damaged(floor_);
    return log_;
  }

 private:
  // Up to the segment of `address` (not that one itself if nothing is in it yet).
  Result<void> check_none_missing(uint64_t address) const {
    const uint64_t last = segments_.number_of(address);
    for (uint64_t number = 0; number <= last; ++number) {
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
      if (rest.size() < sizeof(FrameHeader)) return true;
      const auto header = format::parse_frame(rest, log_.tail, segments_.files().seed);
      if (!header) return false;
      log_.durable = std::max(log_.durable, header->durable);
      if (header->type == FrameType::kSegmentEnd) return true;
      TRY(replay_batch(*header, rest.subspan(sizeof *header, header->payload_bytes)));
      log_.tail += sizeof *header + header->payload_bytes;
    }
  }

  Result<void> replay_batch(const FrameHeader& header, std::span<const std::byte> payload) {
    uint64_t address = log_.tail + sizeof header;
    for (size_t i = 0; i < header.record_count; ++i) {
      const auto record = format::view_record(payload, address);
      if (!record)
        return fail(Code::kCorrupt, fmt::format("{}: record {} exceeds its frame",
                                                segments_.place_of(log_.tail), i));
      apply(*record);
      const uint64_t space =
          std::min<uint64_t>(format::align_up(record->header.size_bytes()), payload.size());
      payload = payload.subspan(space);
      address += space;
    }
    return {};
  }

  void apply(const format::RecordView& record) {
    const uint64_t hash = hash64(record.key, segments_.files().seed);
    IndexShard& shard = index_.shard_of(hash);
    const WriterLock lock(shard.mutex);
    if (record.address < shard.covered_until()) return;
    ++log_.records;
    if (record.header.is_tombstone()) {
      shard.add_keys(-1);
      if (record.header.previous() == 0) return shard.erase(hash);
    } else if (record.header.is_new_key()) {
      shard.add_keys(1);
    }
    shard.put(hash, record.address);
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
    log_.dropped_bytes += used;
    return {};
  }

  std::unexpected<Error> damaged(uint64_t durable) const {
    return fail(Code::kCorrupt,
                fmt::format("{}: the log breaks off here, but was durable up to {}",
                            segments_.place_of(log_.tail), segments_.place_of(durable)));
  }

  Segments& segments_;
  const uint64_t floor_;  // must be reached
  Index& index_;
  const bool stops_at_damage_;
  std::vector<uint64_t> numbers_;
  std::vector<std::byte> bytes_;  // the segment being looked at
  ReplayedLog log_;
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

}  // namespace

Result<ReplayedLog> replay_log(Segments& segments, const format::CheckpointBody& checkpoint,
                               Index& index, OnDamage on_damage) {
  return Replay(segments, checkpoint, index, on_damage).run();
}

Result<std::shared_ptr<MappedSegment>> repair_log(Segments& segments, const ReplayedLog& replayed) {
  const StoreFiles& files = segments.files();
  if (replayed.dropped_bytes > 0)
    log::info("{}: dropped {} bytes of a torn tail", segments.place_of(replayed.tail),
              replayed.dropped_bytes);
  for (const uint64_t number : replayed.segments_behind) TRY(segments.remove(number));
  if (!replayed.segments_behind.empty()) TRY(files.disk.sync_directory(files.directory));

  const uint64_t last = segments.number_of(replayed.tail);
  // What only the page cache has of full segments; the last one is synced by the next commit.
  for (uint64_t number = segments.number_of(replayed.durable); number < last; ++number) {
    TRY_ASSIGN(const auto segment, segments.open_mapped(number));
    TRY(segment->file->sync_data());
  }
  auto active = segments.open_mapped(last);
  if (!active && active.error().is(Code::kNotFound)) return segments.create(last);
  if (!active) return active;
  const auto rest = (*active)->bytes().subspan(replayed.tail - (*active)->begin);
  if (zero_from(rest)) TRY((*active)->file->sync_data());
  return active;
}

}  // namespace larder::journal
