#include "format/frame.h"

#include <cstring>

namespace larder::format {

uint64_t write_record(std::byte* at, uint64_t address, uint64_t store_seed, uint64_t previous,
                      uint32_t flags, std::string_view key, std::string_view value) {
  RecordHeader header;
  header.value_and_flags = static_cast<uint32_t>(value.size()) | flags;
  header.previous_and_key = previous / kAlignment | uint64_t{key.size()} << 48;
  std::memcpy(at, &header, sizeof header);
  std::byte* body = at + sizeof header;
  std::memcpy(body, key.data(), key.size());
  if (!value.empty()) std::memcpy(body + key.size(), value.data(), value.size());
  const uint64_t space = header.space();
  std::memset(at + header.size_bytes(), 0, space - header.size_bytes());
  const std::span covered(at + sizeof header.checksum,
                          header.size_bytes() - sizeof header.checksum);
  header.checksum = checksum32(covered, seed_at(store_seed, address));
  std::memcpy(at, &header.checksum, sizeof header.checksum);
  return space;
}

void write_frame_header(std::byte* at, uint64_t address, uint64_t store_seed, FrameHeader header) {
  std::memcpy(at, &header, header.header_bytes());
  const std::span covered(at + sizeof header.checksum,
                          header.size_bytes() - sizeof header.checksum);
  header.checksum = hash64(covered, seed_at(store_seed, address));
  std::memcpy(at, &header.checksum, sizeof header.checksum);
}

std::optional<RecordView> view_record(std::span<const std::byte> bytes, uint64_t address) {
  RecordView record;
  if (bytes.size() < sizeof record.header) return std::nullopt;
  std::memcpy(&record.header, bytes.data(), sizeof record.header);
  if (record.header.size_bytes() > bytes.size()) return std::nullopt;
  const auto* text = reinterpret_cast<const char*>(bytes.data()) + sizeof record.header;
  record.address = address;
  record.key = {text, record.header.key_bytes()};
  record.value = {text + record.key.size(), record.header.value_bytes()};
  return record;
}

bool verify_record(std::span<const std::byte> bytes, const RecordView& record,
                   uint64_t store_seed) {
  constexpr size_t kSkip = sizeof record.header.checksum;
  const auto covered = bytes.subspan(kSkip, record.header.size_bytes() - kSkip);
  return record.header.checksum == checksum32(covered, seed_at(store_seed, record.address));
}

std::optional<FrameHeader> parse_frame(std::span<const std::byte> bytes, uint64_t address,
                                       uint64_t store_seed) {
  FrameHeader header;
  if (bytes.size() < kFrameHeaderBytesMin) return std::nullopt;
  std::memcpy(static_cast<void*>(&header), bytes.data(), kFrameHeaderBytesMin);
  const bool is_known = header.type == FrameType::kBatch || header.type == FrameType::kSegmentEnd;
  if (!is_known || header.version == 0 || header.version > kFrameVersion) return std::nullopt;
  if (header.header_bytes() > bytes.size()) return std::nullopt;
  std::memcpy(static_cast<void*>(&header), bytes.data(), header.header_bytes());
  if (header.payload_bytes > bytes.size() - header.header_bytes()) return std::nullopt;
  if (header.payload_bytes % kAlignment != 0) return std::nullopt;
  if (header.durable > address || header.begin > header.durable) return std::nullopt;
  constexpr size_t kSkip = sizeof header.checksum;
  const auto covered = bytes.subspan(kSkip, header.size_bytes() - kSkip);
  if (header.checksum != hash64(covered, seed_at(store_seed, address))) return std::nullopt;
  return header;
}

}  // namespace larder::format
