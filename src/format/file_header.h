// The first 128 bytes of each file larder writes for itself: what it is, which version wrote it,
// which store it belongs to.  docs/FORMAT.md has the fields and the upgrade rule.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>

#include "base/error.h"

namespace larder::format {

inline constexpr uint32_t kJournalVersion = 2;
// A header has its first page to itself; what is in later versions' headers may grow up to this.
inline constexpr size_t kHeaderPageBytes = 4096;

using Magic = std::array<char, 8>;
inline constexpr Magic kSuperblockMagic{'L', 'R', 'D', 'R', 'S', 'U', 'P', '\n'};
inline constexpr Magic kSegmentMagic{'L', 'R', 'D', 'R', 'L', 'O', 'G', '\n'};
inline constexpr Magic kCheckpointMagic{'L', 'R', 'D', 'R', 'C', 'K', 'P', '\n'};
inline constexpr Magic kIncrementMagic{'L', 'R', 'D', 'R', 'I', 'N', 'C', '\n'};

struct Uuid {
  uint64_t high = 0;
  uint64_t low = 0;
  bool operator==(const Uuid&) const = default;
};

// Little-endian.  All versions keep magic, version and header_bytes where they are, and the
// checksum in the last 8 of header_bytes; the rest may change.
struct FileHeader {
  Magic magic{};
  uint32_t version = kJournalVersion;
  uint32_t header_bytes = 128;
  Uuid store;
  std::array<uint64_t, 11> body{};
  uint64_t checksum = 0;  // XXH3-64 of the header_bytes - 8 before it
};
static_assert(sizeof(FileHeader) == 128 && std::is_trivially_copyable_v<FileHeader>);

struct SuperblockBody {
  uint64_t segment_bytes = 0;
};
struct SegmentBody {
  uint64_t segment = 0;
  uint64_t segment_bytes = 0;
};
struct CheckpointBody {
  uint64_t sequence = 0;
  uint64_t replay_from = 0;  // log address; older records are all in the image
  uint64_t log_end = 0;      // log address up to which the log was durable before the image was
  uint64_t page_count = 0;
  uint64_t is_clean = 0;  // 1: written by close(), nothing followed
  // Since version 2; as of replay_from.
  uint64_t begin = 0;  // as FrameHeader's
  uint64_t live_bytes = 0;
  uint64_t live_keys = 0;
  // Of an increment; in a full checkpoint all are 0.
  uint64_t full = 0;         // sequence of the full checkpoint it belongs to
  uint64_t from = 0;         // it has the log from here up to replay_from
  uint64_t event_count = 0;  // in its pages
};

// The header's page: the header, then zeros.
using HeaderPage = std::array<std::byte, kHeaderPageBytes>;

HeaderPage make_header_page(const Magic& magic, const Uuid& store, std::span<const std::byte> body);

// The header at the beginning of `page` (the file's first page, or what there is of it).  kCorrupt:
// not such a file, damaged, or (with `store`) of another store; kNewerFormat.  `name` goes into the
// message.
Result<FileHeader> parse_header_page(std::span<const std::byte> page, const Magic& magic,
                                     const Uuid* store, std::string_view name);

template <class Body>
HeaderPage make_header_page_of(const Magic& magic, const Uuid& store, const Body& body) {
  return make_header_page(magic, store, std::as_bytes(std::span(&body, 1)));
}

template <class Body>
Body body_of(const FileHeader& header) {
  static_assert(sizeof(Body) <= sizeof(header.body) && std::is_trivially_copyable_v<Body>);
  Body body{};
  std::memcpy(static_cast<void*>(&body), header.body.data(), sizeof body);
  return body;
}

}  // namespace larder::format
