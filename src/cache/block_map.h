// Which blocks of a file its object holds, with their checksums, in chunks of 64 as the catalog
// stores them.
//
// Not thread-safe (CachedFile guards it).  A chunk is `dirty` from a change until it is claimed,
// that is, stored in the catalog after the object's bytes were synced.
#pragma once

#include <array>
#include <cstdint>
#include <unordered_map>
#include <vector>

#include "catalog/records.h"

namespace larder::cache {

class BlockMap {
 public:
  bool has(uint64_t block) const {
    const auto it = chunks_.find(block / catalog::kBlocksPerChunk);
    return it != chunks_.end() &&
           (it->second.present >> (block % catalog::kBlocksPerChunk) & 1) != 0;
  }
  // checksum 0: not known.
  void set(uint64_t block, uint32_t checksum);
  void clear(uint64_t block);
  // Nothing is known of the chunk any more.
  void erase_chunk(uint64_t chunk);
  // Of every chunk, which stay known.
  void clear_all();
  void reset() {
    chunks_.clear();
    present_blocks_ = 0;
  }
  uint64_t present_blocks() const { return present_blocks_; }

  // The present blocks within [first, last].
  std::vector<uint64_t> present_in(uint64_t first, uint64_t last) const;
  // The chunks there is anything about.
  std::vector<uint64_t> chunks() const;
  void load(uint64_t chunk, const catalog::ChunkRecord& record);
  catalog::ChunkRecord record(uint64_t chunk) const;
  std::vector<uint64_t> dirty_chunks() const;
  void mark_claimed(uint64_t chunk);

 private:
  struct Chunk {
    uint64_t present = 0;
    bool dirty = false;
    std::array<uint32_t, catalog::kBlocksPerChunk> checksums{};
  };
  std::unordered_map<uint64_t, Chunk> chunks_;
  uint64_t present_blocks_ = 0;
};

}  // namespace larder::cache
