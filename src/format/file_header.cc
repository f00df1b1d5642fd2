#include "format/file_header.h"

#include <fmt/format.h>

#include <bit>

#include "base/check.h"
#include "base/checksum.h"

namespace larder::format {

static_assert(std::endian::native == std::endian::little, "the format is little-endian");

HeaderPage make_header_page(const Magic& magic, const Uuid& store,
                            std::span<const std::byte> body) {
  FileHeader header;
  header.magic = magic;
  header.store = store;
  CHECK(body.size() <= sizeof header.body);
  std::memcpy(header.body.data(), body.data(), body.size());
  const auto bytes = std::as_bytes(std::span(&header, 1));
  header.checksum = hash64(bytes.first(sizeof header - sizeof header.checksum));
  HeaderPage page{};
  std::memcpy(page.data(), &header, sizeof header);
  return page;
}

Result<FileHeader> parse_header_page(std::span<const std::byte> page, const Magic& magic,
                                     const Uuid* store, std::string_view name) {
  FileHeader header;
  if (page.size() < sizeof header)
    return fail(Code::kCorrupt,
                fmt::format("{}: {} bytes, too short for a header", name, page.size()));
  std::memcpy(&header, page.data(), sizeof header);
  if (header.magic != magic)
    return fail(Code::kCorrupt, fmt::format("{}: not a larder file of this kind", name));
  constexpr size_t kChecksumBytes = sizeof header.checksum;
  if (header.header_bytes < sizeof header || header.header_bytes > page.size())
    return fail(Code::kCorrupt, fmt::format("{}: header of {} bytes", name, header.header_bytes));
  uint64_t stored = 0;
  std::memcpy(&stored, page.data() + header.header_bytes - kChecksumBytes, kChecksumBytes);
  if (stored != hash64(page.first(header.header_bytes - kChecksumBytes)))
    return fail(Code::kCorrupt, fmt::format("{}: the header does not verify", name));
  if (header.version > kJournalVersion)
    return fail(Code::kNewerFormat, fmt::format("{}: format version {}, this larder knows up to {}",
                                                name, header.version, kJournalVersion));
  if (store != nullptr && header.store != *store)
    return fail(Code::kCorrupt, fmt::format("{}: belongs to another store", name));
  return header;
}

}  // namespace larder::format
