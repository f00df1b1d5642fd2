// Frames and records.  The input is what is behind a frame's checksum: it gets the right one, so
// that more than the checksum is tried.
#include <cstring>

#include "base/check.h"
#include "format/frame.h"
#include "fuzz/target.h"

namespace larder::fuzz {
namespace {

using namespace format;

constexpr uint64_t kAddress = 1 << 20;
constexpr uint64_t kSeed = 0x1234;

void look_at(std::span<const std::byte> bytes) {
  const auto header = parse_frame(bytes, kAddress, kSeed);
  if (!header) return;
  CHECK(header->size_bytes() <= bytes.size());
  CHECK(!parse_frame(bytes, kAddress + 8, kSeed) || header->durable <= kAddress);
  const auto payload = bytes.subspan(header->header_bytes(), header->payload_bytes);
  const uint64_t begin = kAddress + header->header_bytes();
  for_each_record(*header, payload, kAddress, [&](const RecordView& record) {
    CHECK(record.address >= begin && record.header.size_bytes() <= payload.size());
    const auto rest = payload.subspan(record.address - begin);
    (void)verify_record(rest, record, kSeed);
    // A record that is written again is the same one.
    if (record.header.previous() >= record.address) return;
    std::vector<std::byte> copy(record.header.space());
    const uint32_t flags = record.header.value_and_flags & RecordHeader::kTombstone;
    CHECK(write_record(copy.data(), record.address, kSeed, record.header.previous(), flags,
                       record.key, record.value) == copy.size());
    const auto again = view_record(copy, record.address);
    CHECK(again && again->key == record.key && again->value == record.value);
    CHECK(verify_record(copy, *again, kSeed));
  });
}

}  // namespace

void run(std::string_view input) {
  look_at(std::as_bytes(std::span(input)));
  FrameHeader header;
  if (input.size() < sizeof header) return;
  std::string sealed(input);
  std::memcpy(&header, sealed.data(), sizeof header);
  header.version = header.version % 2 + 1;
  header.durable %= kAddress + 1;
  if (header.begin > header.durable) header.begin = header.durable;
  header.payload_bytes = static_cast<uint32_t>((sealed.size() - header.header_bytes()) & ~7ULL);
  if (header.type != FrameType::kSegmentEnd) header.type = FrameType::kBatch;
  write_frame_header(reinterpret_cast<std::byte*>(sealed.data()), kAddress, kSeed, header);
  CHECK(parse_frame(std::as_bytes(std::span(sealed)), kAddress, kSeed));
  look_at(std::as_bytes(std::span(sealed)));
}

std::vector<std::string> seeds() {
  std::vector<std::string> all;
  for (const bool is_removal : {false, true}) {
    FrameHeader header{.durable = 4096, .record_count = 2, .type = FrameType::kBatch};
    std::string frame(header.header_bytes(), '\0');
    for (const std::string key : {"one", "another"}) {
      const std::string value = is_removal ? "" : "value of " + key;
      std::string record(record_space(key.size(), value.size()), '\0');
      write_record(reinterpret_cast<std::byte*>(record.data()), kAddress + frame.size(), kSeed,
                   4096, is_removal ? RecordHeader::kTombstone : 0, key, value);
      frame += record;
    }
    header.payload_bytes = static_cast<uint32_t>(frame.size() - header.header_bytes());
    write_frame_header(reinterpret_cast<std::byte*>(frame.data()), kAddress, kSeed, header);
    all.push_back(frame);
  }
  FrameHeader end{.durable = 8, .type = FrameType::kSegmentEnd};
  std::string frame(end.header_bytes(), '\0');
  write_frame_header(reinterpret_cast<std::byte*>(frame.data()), kAddress, kSeed, end);
  all.push_back(frame);
  return all;
}

}  // namespace larder::fuzz
