// Frames and records, the contents of the journal's log.  A frame is one batch: a header and its
// records, 8-byte aligned; docs/FORMAT.md has the fields and what each of them catches.
//
// Both checksums are seeded with the place of what they cover (`seed_at`), so bytes of another
// store, or of the same store at another address, never verify.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "base/checksum.h"
#include "format/file_header.h"

namespace larder::format {

inline constexpr uint64_t kAlignment = 8;
constexpr uint64_t align_up(uint64_t n) {
  return (n + kAlignment - 1) & ~(kAlignment - 1);
}

enum class FrameType : uint8_t {
  kBatch = 1,
  kSegmentEnd = 2,  // the log goes on in the next segment
};
inline constexpr uint8_t kFrameVersion = 2;

struct FrameHeader {
  uint64_t checksum = 0;       // of everything behind it up to the frame's end
  uint64_t durable = 0;        // log address known to be durable when the frame was written
  uint32_t payload_bytes = 0;  // behind the header, a multiple of 8
  uint16_t record_count = 0;
  FrameType type{};  // 0: nothing was written here
  uint8_t version = kFrameVersion;
  // What follows is there since version 2, and zero in a frame of version 1.
  uint64_t begin = 0;       // log address: no record before it counts any more
  uint64_t live_bytes = 0;  // space of the records that are their live key's newest, ...
  uint64_t live_keys = 0;   // ... and how many they are, with this frame

  static constexpr size_t bytes_of(uint8_t version) { return version == 1 ? 24 : 48; }
  size_t header_bytes() const { return bytes_of(version); }
  uint64_t size_bytes() const { return header_bytes() + payload_bytes; }
};
static_assert(sizeof(FrameHeader) == FrameHeader::bytes_of(kFrameVersion));
// Where less is left of a segment the log goes on in the next one.
inline constexpr size_t kFrameHeaderBytesMin = FrameHeader::bytes_of(1);

struct RecordHeader {
  uint32_t checksum = 0;          // of everything behind it up to the value's end
  uint32_t value_and_flags = 0;   // low 30 bits: value's size in bytes; kTombstone
  uint64_t previous_and_key = 0;  // low 48 bits: previous record's address / 8; then the key's size

  static constexpr uint32_t kTombstone = 1u << 31;  // the key is removed
  // Bit 30 was a flag in version 1, which nobody reads.
  static constexpr uint32_t kValueBytesMask = (1u << 30) - 1;

  uint32_t value_bytes() const { return value_and_flags & kValueBytesMask; }
  bool is_tombstone() const { return (value_and_flags & kTombstone) != 0; }
  uint32_t key_bytes() const { return static_cast<uint32_t>(previous_and_key >> 48); }
  // The record before this one in the chain of equal index tags; 0: none.
  uint64_t previous() const { return (previous_and_key & ((uint64_t{1} << 48) - 1)) * kAlignment; }
  // Header, key and value, without padding; and with it.
  uint64_t size_bytes() const { return sizeof(RecordHeader) + key_bytes() + value_bytes(); }
  uint64_t space() const { return align_up(size_bytes()); }
};
static_assert(sizeof(RecordHeader) == 16);

inline uint64_t seed_of(const Uuid& store) {
  return mix64(store.high ^ mix64(store.low));
}
inline uint64_t seed_at(uint64_t store_seed, uint64_t address) {
  return store_seed ^ mix64(address + 1);
}

// A record in memory: pointers into the bytes it was parsed from.
struct RecordView {
  RecordHeader header;
  uint64_t address = 0;
  std::string_view key;
  std::string_view value;
};

// Space a record takes in a frame.
constexpr uint64_t record_space(size_t key_bytes, size_t value_bytes) {
  return align_up(sizeof(RecordHeader) + key_bytes + value_bytes);
}

// Writes record and padding to `at`, which has room for record_space().  Returns that space.
uint64_t write_record(std::byte* at, uint64_t address, uint64_t store_seed, uint64_t previous,
                      uint32_t flags, std::string_view key, std::string_view value);
// Writes the header of a frame of this version whose payload is already behind it.
void write_frame_header(std::byte* at, uint64_t address, uint64_t store_seed, FrameHeader header);

// The record at the beginning of `bytes` without looking at its checksum: for bytes already
// verified or written by this process.  nullopt: it does not fit into them.
std::optional<RecordView> view_record(std::span<const std::byte> bytes, uint64_t address);
bool verify_record(std::span<const std::byte> bytes, const RecordView& record, uint64_t store_seed);

// The frame's header if a whole frame that verifies, of any version, is at the beginning of
// `bytes`.
std::optional<FrameHeader> parse_frame(std::span<const std::byte> bytes, uint64_t address,
                                       uint64_t store_seed);

// Calls `visit` with each record of the frame at `address`, whose payload this is.  False when a
// record exceeds the frame.
template <class Visit>
bool for_each_record(const FrameHeader& header, std::span<const std::byte> payload,
                     uint64_t address, Visit&& visit) {
  address += header.header_bytes();
  for (size_t i = 0; i < header.record_count; ++i) {
    const auto record = view_record(payload, address);
    if (!record) return false;
    visit(*record);
    const uint64_t space = record->header.space();
    payload = payload.subspan(space < payload.size() ? space : payload.size());
    address += space;
  }
  return true;
}

}  // namespace larder::format
