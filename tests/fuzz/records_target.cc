// The catalog's records and keys: what decodes is encoded to what decodes to the same.
#include "base/check.h"
#include "catalog/records.h"
#include "fuzz/target.h"

namespace larder::fuzz {

using namespace catalog;

void run(std::string_view input) {
  if (const auto key = parse_key(input)) CHECK(key->name.size() <= input.size());
  if (const auto node = decode_node(input)) {
    CHECK(node->block_shift <= kBlockShiftMax);
    CHECK(decode_node(encode(*node)) == node);
  }
  if (const auto name = decode_name(input)) CHECK(encode(*name) == input);
  if (const auto chunk = decode_chunk(input)) CHECK(decode_chunk(encode(*chunk)) == chunk);
  if (const auto part = decode_listing(input)) CHECK(encode(*part) == input);
  if (const auto number = decode_number(input)) CHECK(encode_number(*number) == input);
}

std::vector<std::string> seeds() {
  NodeRecord node;
  node.attributes.mode = 0100644;
  node.parent = NodeId{1};
  node.name = "name";
  node.symlink_target = "target";
  node.block_shift = 17;
  node.object = ObjectId{3};
  NodeRecord with_chunk = node;
  with_chunk.first_chunk = ChunkRecord{.present = 5, .checksums = {1, 2}};
  const std::vector<ListingEntry> part{{"one", NodeId{2}, 0100000}, {"two", NodeId{3}, 0040000}};
  return {encode(node),
          encode(with_chunk),
          encode(NameRecord{NodeId{2}, 0100000}),
          encode(ChunkRecord{.present = 3, .checksums = {7, 8}}),
          encode(part),
          encode_number(1 << 20),
          node_key(NodeId{2}),
          name_key(NodeId{1}, "name"),
          chunk_key(ObjectId{3}, 1),
          listing_key(NodeId{1}, 0),
          inode_key(77),
          meta_key(kNodeLimit)};
}

}  // namespace larder::fuzz
