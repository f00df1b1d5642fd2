// The catalog's records: what is remembered of the source and of the objects, and how it is stored.
//
//   key                               value         says
//   'n' node id                       NodeRecord    attributes, validator and object of a node
//   'e' parent id, name               NameRecord    which node a directory's name leads to
//   'c' object id, chunk index        ChunkRecord   which of a chunk's blocks the object holds; of
//                                                   chunk 0 the NodeRecord says it
//   'l' directory id, part index      ListingPart   one part of a complete listing
//   'i' source inode                  node id       a file with several names (stable inodes only)
//   'm' name                          -             the catalog's own counters
//
// Ids in keys are big-endian so that dumps sort; all values start with a version byte.  decode_*
// give nullopt for anything that is not exactly a record of a known version: the caller treats it
// as absent, and the source is asked again.  FORMAT.md is the reference.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/attributes.h"
#include "base/ids.h"

namespace larder::catalog {

inline constexpr uint64_t kBlocksPerChunk = 64;
// Blocks are 1 << block_shift bytes; a record that says more does not decode.
inline constexpr uint8_t kBlockShiftMax = 24;
// The counters among the 'm' records: ids below them may have been handed out.
inline constexpr std::string_view kNodeLimit = "node-limit";
inline constexpr std::string_view kObjectLimit = "object-limit";

struct ChunkRecord {
  uint64_t present = 0;  // bit b: block chunk * 64 + b is in the object
  // One per present block, in order; 0: not known (the block was changed in part).
  std::vector<uint32_t> checksums;
  // The object's next chunk that has a record of its own (NodeRecord::further_chunks); 0: there is
  // none, or it is not known.
  uint64_t next = 0;
  bool operator==(const ChunkRecord&) const = default;
};

struct NodeRecord {
  Attributes attributes;  // the source's
  // When the source last confirmed the attributes (wall clock), and when the node was last opened.
  int64_t validated_at_ns = 0;
  int64_t used_at_ns = 0;
  // One of the node's names: enough to find its path without the kernel's help.
  NodeId parent;
  std::string name;
  std::string symlink_target;
  // The local copy.  `version` is the validator of its bytes.  data_stable is false while this
  // mount is changing the file: after a crash such data are not trusted.
  ObjectId object;
  Validator version;
  uint64_t object_bytes = 0;  // disk space of the object
  int64_t cached_at_ns = 0;   // wall clock; when the object was begun, 0: not known
  // Chunk 0, which is all that most files have, so that these cost one key less.  nullopt: it is in
  // a record of its own, if anywhere (older larders put it there).
  std::optional<ChunkRecord> first_chunk;
  // The first of the chunks that have a record of their own, 0: none has; each names the next.
  // nullopt: they are not listed, as older larders did not.
  std::optional<uint64_t> further_chunks;
  uint8_t block_shift = 0;  // block size of the object = 1 << block_shift
  bool data_stable = false;
  // A change of attributes or names made here moved ctime since `version`: one that differs in
  // ctime only is the same data.
  bool ctime_moved = false;
  // Directories: parts of the stored listing (0: none) and the directory's times it belongs to.
  uint32_t listing_parts = 0;
  Timestamp listing_mtime;
  Timestamp listing_ctime;
  bool operator==(const NodeRecord&) const = default;
};

struct NameRecord {
  NodeId node;
  uint32_t type = 0;  // S_IFMT bits
};

struct ListingEntry {
  std::string name;
  NodeId node;
  uint32_t type = 0;
  bool operator==(const ListingEntry&) const = default;
};

std::string node_key(NodeId node);
std::string name_key(NodeId parent, std::string_view name);
std::string chunk_key(ObjectId object, uint64_t chunk);
std::string listing_key(NodeId directory, uint32_t part);
std::string inode_key(uint64_t source_inode);
std::string meta_key(std::string_view name);

enum class RecordKind : char {
  kNode = 'n',
  kName = 'e',
  kChunk = 'c',
  kListing = 'l',
  kInode = 'i',
  kMeta = 'm',
};
struct RecordKey {
  RecordKind kind{};
  uint64_t id = 0;          // node, parent, object, directory or inode, by kind
  uint64_t part = 0;        // kChunk: the chunk; kListing: the part
  std::string_view name{};  // kName, kMeta; points into what was parsed
};
// nullopt: none of these keys.
std::optional<RecordKey> parse_key(std::string_view key);

std::string encode(const NodeRecord& record);
std::string encode(const NameRecord& record);
std::string encode(const ChunkRecord& record);
std::string encode(const std::vector<ListingEntry>& part);
std::string encode_number(uint64_t number);
std::optional<NodeRecord> decode_node(std::string_view value);
std::optional<NameRecord> decode_name(std::string_view value);
std::optional<ChunkRecord> decode_chunk(std::string_view value);
std::optional<std::vector<ListingEntry>> decode_listing(std::string_view value);
std::optional<uint64_t> decode_number(std::string_view value);

}  // namespace larder::catalog
