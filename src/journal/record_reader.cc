#include "journal/record_reader.h"

#include <fmt/format.h>

#include <cstring>

#include "journal/store.h"

namespace larder::journal {

std::span<const std::byte> RecordReader::from(uint64_t address) const {
  if (address < begin_ || address - begin_ > bytes_.size()) return {};
  return std::span(bytes_).subspan(address - begin_);
}

// Of the record that begins there; 0: not even its header is in memory.
uint64_t RecordReader::size_at(uint64_t address) const {
  format::RecordHeader header;
  const auto bytes = from(address);
  if (bytes.size() < sizeof header) return 0;
  std::memcpy(&header, bytes.data(), sizeof header);
  return header.size_bytes();
}

Result<void> RecordReader::read_stretch(uint64_t address, size_t bytes) {
  begin_ = address;
  bytes_.resize(bytes);
  const auto size = segments_.read(address, bytes_);
  bytes_.resize(size.value_or(0));
  if (!size) return fail(size.error());
  return {};
}

Result<format::RecordView> RecordReader::read(uint64_t address) {
  uint64_t size = size_at(address);
  if (size == 0 || size > from(address).size()) {
    TRY(read_stretch(address, stretch_bytes_));
    size = size_at(address);
  }
  constexpr uint64_t kRecordSizeMax = sizeof(format::RecordHeader) + kKeySizeMax + kValueSizeMax;
  if (size > from(address).size() && size <= kRecordSizeMax) TRY(read_stretch(address, size));
  const auto record = format::view_record(from(address), address);
  if (!record || !format::verify_record(from(address), *record, segments_.files().seed) ||
      record->header.previous() >= address)
    return fail(Code::kCorrupt,
                fmt::format("{}: the record does not verify", segments_.place_of(address)));
  return *record;
}

}  // namespace larder::journal
