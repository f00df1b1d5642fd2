#include "catalog/records.h"

#include <bit>

#include "format/codec.h"

namespace larder::catalog {
namespace {

using format::Decoder;
using format::Encoder;

// Raised when a record's fields change.  A reader refuses versions it does not know.
constexpr uint8_t kNodeVersion = 3;
// What came with a version.
constexpr uint8_t kSinceFirstChunk = 2;  // and cached_at_ns
constexpr uint8_t kSinceSeconds = 3;     // before: files' times in 64 bits of nanoseconds
constexpr uint8_t kNameVersion = 1;
constexpr uint8_t kChunkVersion = 2;  // 1: without next
constexpr uint8_t kListingVersion = 1;
constexpr uint8_t kNumberVersion = 1;

// Flags of a node's record.
constexpr uint8_t kDataStable = 1;
constexpr uint8_t kCtimeMoved = 2;
constexpr uint8_t kHasFirstChunk = 4;
constexpr uint8_t kHasFurtherChunks = 8;

void append_big_endian(std::string& key, uint64_t number) {
  for (int shift = 56; shift >= 0; shift -= 8) key.push_back(static_cast<char>(number >> shift));
}

std::string key_of(char kind, uint64_t number) {
  std::string key(1, kind);
  append_big_endian(key, number);
  return key;
}

uint64_t take_big_endian(std::string_view& key) {
  uint64_t number = 0;
  for (const char byte : key.substr(0, sizeof number))
    number = number << 8 | static_cast<uint8_t>(byte);
  key.remove_prefix(sizeof number);
  return number;
}

void put(Encoder& out, const Timestamp& time) {
  out.put(time.seconds).put(time.nanoseconds);
}

Timestamp get_timestamp(Decoder& in, uint8_t version) {
  if (version < kSinceSeconds) return Timestamp::of(std::chrono::nanoseconds(in.get<int64_t>()));
  Timestamp time;
  time.seconds = in.get<int64_t>();
  time.nanoseconds = in.get<uint32_t>();
  if (time.nanoseconds >= Timestamp::kPerSecond) in.refuse();
  return time;
}

void put(Encoder& out, const Attributes& a) {
  out.put(a.inode).put(a.mode).put(a.nlink).put(a.uid).put(a.gid).put(a.rdev).put(a.size_bytes);
  out.put(a.blocks_512);
  put(out, a.times.atime);
  put(out, a.times.mtime);
  put(out, a.times.ctime);
}

Attributes get_attributes(Decoder& in, uint8_t version) {
  Attributes a;
  a.inode = in.get<uint64_t>();
  a.mode = in.get<uint32_t>();
  a.nlink = in.get<uint32_t>();
  a.uid = in.get<uint32_t>();
  a.gid = in.get<uint32_t>();
  a.rdev = in.get<uint64_t>();
  a.size_bytes = in.get<uint64_t>();
  a.blocks_512 = in.get<uint64_t>();
  a.times.atime = get_timestamp(in, version);
  a.times.mtime = get_timestamp(in, version);
  a.times.ctime = get_timestamp(in, version);
  return a;
}

void put(Encoder& out, const Validator& v) {
  out.put(v.size_bytes);
  put(out, v.mtime);
  put(out, v.ctime);
  out.put(v.inode);
}

Validator get_validator(Decoder& in, uint8_t version) {
  Validator v;
  v.size_bytes = in.get<uint64_t>();
  v.mtime = get_timestamp(in, version);
  v.ctime = get_timestamp(in, version);
  v.inode = in.get<uint64_t>();
  return v;
}

void put(Encoder& out, const ChunkRecord& chunk) {
  out.put(chunk.present);
  for (const uint32_t checksum : chunk.checksums) out.put(checksum);
}

ChunkRecord get_chunk(Decoder& in) {
  ChunkRecord chunk;
  chunk.present = in.get<uint64_t>();
  const int blocks = std::popcount(chunk.present);
  for (int i = 0; i < blocks; ++i) chunk.checksums.push_back(in.get<uint32_t>());
  return chunk;
}

}  // namespace

std::string node_key(NodeId node) {
  return key_of('n', node.value);
}

std::string name_key(NodeId parent, std::string_view name) {
  std::string key = key_of('e', parent.value);
  key.append(name);
  return key;
}

std::string chunk_key(ObjectId object, uint64_t chunk) {
  std::string key = key_of('c', object.value);
  append_big_endian(key, chunk);
  return key;
}

std::string listing_key(NodeId directory, uint32_t part) {
  std::string key = key_of('l', directory.value);
  append_big_endian(key, part);
  return key;
}

std::string inode_key(uint64_t source_inode) {
  return key_of('i', source_inode);
}

std::string meta_key(std::string_view name) {
  return "m" + std::string(name);
}

std::optional<RecordKey> parse_key(std::string_view key) {
  if (key.empty()) return std::nullopt;
  RecordKey parsed{.kind = static_cast<RecordKind>(key[0])};
  std::string_view rest = key.substr(1);
  constexpr size_t kIdBytes = sizeof parsed.id;
  switch (parsed.kind) {
    case RecordKind::kNode:
    case RecordKind::kInode:
      if (rest.size() != kIdBytes) return std::nullopt;
      parsed.id = take_big_endian(rest);
      return parsed;
    case RecordKind::kChunk:
    case RecordKind::kListing:
      if (rest.size() != 2 * kIdBytes) return std::nullopt;
      parsed.id = take_big_endian(rest);
      parsed.part = take_big_endian(rest);
      return parsed;
    case RecordKind::kName:
      if (rest.size() <= kIdBytes) return std::nullopt;
      parsed.id = take_big_endian(rest);
      parsed.name = rest;
      return parsed;
    case RecordKind::kMeta:
      parsed.name = rest;
      return parsed;
  }
  return std::nullopt;
}

std::string encode(const NodeRecord& r) {
  Encoder out;
  out.put(kNodeVersion);
  put(out, r.attributes);
  out.put(r.validated_at_ns).put(r.used_at_ns).put(r.parent.value);
  out.put_bytes(r.name).put_bytes(r.symlink_target);
  out.put(r.object.value);
  put(out, r.version);
  out.put(r.object_bytes).put(r.block_shift);
  out.put(static_cast<uint8_t>(
      (r.data_stable ? kDataStable : 0) | (r.ctime_moved ? kCtimeMoved : 0) |
      (r.first_chunk ? kHasFirstChunk : 0) | (r.further_chunks ? kHasFurtherChunks : 0)));
  out.put(r.listing_parts);
  put(out, r.listing_mtime);
  put(out, r.listing_ctime);
  out.put(r.cached_at_ns);
  if (r.first_chunk) put(out, *r.first_chunk);
  if (r.further_chunks) out.put(*r.further_chunks);
  return out.take();
}

std::optional<NodeRecord> decode_node(std::string_view value) {
  Decoder in(value);
  const auto version = in.get<uint8_t>();
  if (version < 1 || version > kNodeVersion) return std::nullopt;
  NodeRecord r;
  r.attributes = get_attributes(in, version);
  r.validated_at_ns = in.get<int64_t>();
  r.used_at_ns = in.get<int64_t>();
  r.parent.value = in.get<uint64_t>();
  r.name = in.get_bytes();
  r.symlink_target = in.get_bytes();
  r.object.value = in.get<uint64_t>();
  r.version = get_validator(in, version);
  r.object_bytes = in.get<uint64_t>();
  r.block_shift = in.get<uint8_t>();
  const auto flags = in.get<uint8_t>();
  r.data_stable = (flags & kDataStable) != 0;
  r.ctime_moved = (flags & kCtimeMoved) != 0;
  r.listing_parts = in.get<uint32_t>();
  r.listing_mtime = get_timestamp(in, version);
  r.listing_ctime = get_timestamp(in, version);
  if (version >= kSinceFirstChunk) {
    r.cached_at_ns = in.get<int64_t>();
    if ((flags & kHasFirstChunk) != 0) r.first_chunk = get_chunk(in);
    if ((flags & kHasFurtherChunks) != 0) r.further_chunks = in.get<uint64_t>();
  }
  const auto known_flags = kDataStable | kCtimeMoved |
                           (version >= kSinceFirstChunk ? kHasFirstChunk : 0) |
                           (version >= kSinceSeconds ? kHasFurtherChunks : 0);
  if (!in.complete() || (flags & ~known_flags) != 0) return std::nullopt;
  if (r.block_shift > kBlockShiftMax) return std::nullopt;
  // A date beyond the nanoseconds was stored wrapped, so the source is asked for all of them again.
  // The text of a link may be that of the one before it.
  if (version < kSinceSeconds) {
    r.validated_at_ns = 0;
    r.symlink_target.clear();
  }
  return r;
}

std::string encode(const NameRecord& r) {
  Encoder out;
  out.put(kNameVersion).put(r.node.value).put(r.type);
  return out.take();
}

std::optional<NameRecord> decode_name(std::string_view value) {
  Decoder in(value);
  if (in.get<uint8_t>() != kNameVersion) return std::nullopt;
  NameRecord r;
  r.node.value = in.get<uint64_t>();
  r.type = in.get<uint32_t>();
  if (!in.complete() || !r.node) return std::nullopt;
  return r;
}

std::string encode(const ChunkRecord& r) {
  Encoder out;
  out.put(kChunkVersion);
  put(out, r);
  out.put(r.next);
  return out.take();
}

std::optional<ChunkRecord> decode_chunk(std::string_view value) {
  Decoder in(value);
  const auto version = in.get<uint8_t>();
  if (version < 1 || version > kChunkVersion) return std::nullopt;
  ChunkRecord r = get_chunk(in);
  if (version > 1) r.next = in.get<uint64_t>();
  if (!in.complete()) return std::nullopt;
  return r;
}

std::string encode(const std::vector<ListingEntry>& part) {
  Encoder out;
  out.put(kListingVersion).put(static_cast<uint32_t>(part.size()));
  for (const ListingEntry& entry : part)
    out.put_bytes(entry.name).put(entry.node.value).put(entry.type);
  return out.take();
}

std::optional<std::vector<ListingEntry>> decode_listing(std::string_view value) {
  Decoder in(value);
  if (in.get<uint8_t>() != kListingVersion) return std::nullopt;
  const auto count = in.get<uint32_t>();
  std::vector<ListingEntry> part;
  for (uint32_t i = 0; i < count && in.ok(); ++i) {
    ListingEntry entry;
    entry.name = in.get_bytes();
    entry.node.value = in.get<uint64_t>();
    entry.type = in.get<uint32_t>();
    part.push_back(std::move(entry));
  }
  if (!in.complete()) return std::nullopt;
  return part;
}

std::string encode_number(uint64_t number) {
  Encoder out;
  out.put(kNumberVersion).put(number);
  return out.take();
}

std::optional<uint64_t> decode_number(std::string_view value) {
  Decoder in(value);
  if (in.get<uint8_t>() != kNumberVersion) return std::nullopt;
  const auto number = in.get<uint64_t>();
  if (!in.complete()) return std::nullopt;
  return number;
}

}  // namespace larder::catalog
