#include "journal/record_reader.h"

#include <fmt/format.h>

#include <cstring>

#include "journal/store.h"

namespace larder::journal {

std::span<const std::byte> RecordReader::buffered(uint64_t address) const {
  if (address < begin_ || address - begin_ > bytes_.size()) return {};
  return std::span(bytes_).subspan(address - begin_);
}

// Of the record that begins there; 0: not even its header is there.
uint64_t RecordReader::wanted_bytes(uint64_t address) const {
  const auto bytes = buffered(address);
  format::RecordHeader header;
  if (bytes.size() < sizeof header) return 0;
  std::memcpy(&header, bytes.data(), sizeof header);
  return header.size_bytes();
}

Result<void> RecordReader::fill(uint64_t address, size_t bytes) {
  reads_.add();
  begin_ = address;
  bytes_.resize(bytes);
  TRY_ASSIGN(const size_t size, segments_.read(address, bytes_));
  bytes_.resize(size);
  return {};
}

Result<format::RecordView> RecordReader::read(uint64_t address, size_t stretch_bytes) {
  uint64_t wanted = wanted_bytes(address);
  if (wanted == 0 || wanted > buffered(address).size()) {
    TRY(fill(address, stretch_bytes));
    wanted = wanted_bytes(address);
  }
  constexpr uint64_t kRecordBytesMax = sizeof(format::RecordHeader) + kKeySizeMax + kValueSizeMax;
  if (wanted > buffered(address).size() && wanted <= kRecordBytesMax) TRY(fill(address, wanted));
  const auto bytes = buffered(address);
  const auto record = format::view_record(bytes, address);
  if (!record || !format::verify_record(bytes, *record, segments_.files().seed) ||
      record->header.previous() >= address)
    return fail(Code::kCorrupt,
                fmt::format("{}: the record does not verify", segments_.place_of(address)));
  return *record;
}

}  // namespace larder::journal
