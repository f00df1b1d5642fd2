#include "cache/block_map.h"

#include <bit>

namespace larder::cache {

using catalog::kBlocksPerChunk;

void BlockMap::set(uint64_t block, uint32_t checksum) {
  Chunk& chunk = chunks_[block / kBlocksPerChunk];
  const uint64_t bit = 1ULL << (block % kBlocksPerChunk);
  if ((chunk.present & bit) == 0) ++present_blocks_;
  chunk.present |= bit;
  chunk.checksums[block % kBlocksPerChunk] = checksum;
  chunk.dirty = true;
}

void BlockMap::clear(uint64_t block) {
  const auto it = chunks_.find(block / kBlocksPerChunk);
  if (it == chunks_.end()) return;
  const uint64_t bit = 1ULL << (block % kBlocksPerChunk);
  if ((it->second.present & bit) == 0) return;
  it->second.present &= ~bit;
  it->second.dirty = true;
  --present_blocks_;
}

void BlockMap::erase_chunk(uint64_t chunk_index) {
  const auto it = chunks_.find(chunk_index);
  if (it == chunks_.end()) return;
  present_blocks_ -= static_cast<uint64_t>(std::popcount(it->second.present));
  chunks_.erase(it);
}

void BlockMap::clear_all() {
  for (auto& [index, chunk] : chunks_) chunk = Chunk{0, true, {}};
  present_blocks_ = 0;
}

std::vector<uint64_t> BlockMap::present_in(uint64_t first, uint64_t last) const {
  std::vector<uint64_t> present;
  for (const auto& [index, chunk] : chunks_) {
    if (index < first / kBlocksPerChunk || index > last / kBlocksPerChunk) continue;
    for (uint64_t bit = 0; bit < kBlocksPerChunk; ++bit) {
      const uint64_t block = index * kBlocksPerChunk + bit;
      if ((chunk.present >> bit & 1) != 0 && block >= first && block <= last)
        present.push_back(block);
    }
  }
  return present;
}

std::vector<uint64_t> BlockMap::chunks() const {
  std::vector<uint64_t> indices;
  for (const auto& [index, chunk] : chunks_) indices.push_back(index);
  return indices;
}

void BlockMap::load(uint64_t chunk_index, const catalog::ChunkRecord& record) {
  Chunk chunk;
  chunk.present = record.present;
  size_t next = 0;
  for (uint64_t bit = 0; bit < kBlocksPerChunk; ++bit)
    if ((record.present >> bit & 1) != 0) chunk.checksums[bit] = record.checksums[next++];
  present_blocks_ += static_cast<uint64_t>(std::popcount(record.present));
  chunks_[chunk_index] = chunk;
}

catalog::ChunkRecord BlockMap::record(uint64_t chunk_index) const {
  catalog::ChunkRecord record;
  const auto it = chunks_.find(chunk_index);
  if (it == chunks_.end()) return record;
  record.present = it->second.present;
  for (uint64_t bit = 0; bit < kBlocksPerChunk; ++bit)
    if ((record.present >> bit & 1) != 0) record.checksums.push_back(it->second.checksums[bit]);
  return record;
}

std::vector<uint64_t> BlockMap::dirty_chunks() const {
  std::vector<uint64_t> dirty;
  for (const auto& [index, chunk] : chunks_)
    if (chunk.dirty) dirty.push_back(index);
  return dirty;
}

void BlockMap::mark_claimed(uint64_t chunk) {
  const auto it = chunks_.find(chunk);
  if (it != chunks_.end()) it->second.dirty = false;
}

}  // namespace larder::cache
