// CachedFile's part in housekeeping: dropping blocks that do not verify, and bytes that no block
// accounts for.
//
// Both hold punching_ while they touch the object, so that no absent block becomes present in it.

#include <algorithm>

#include "base/checksum.h"
#include "cache/cached_file.h"
#include "cache/claims.h"

namespace larder::cache {

using catalog::kBlocksPerChunk;

// What was known of a chunk's blocks when nothing was changing.
struct CachedFile::Snapshot {
  struct Block {
    uint64_t number = 0;
    uint32_t checksum = 0;
    uint64_t length = 0;
  };
  uint64_t changed_at = 0;
  std::vector<Block> blocks;  // present, with a checksum
};

std::optional<CachedFile::Snapshot> CachedFile::snapshot(ObjectId object, uint64_t chunk) const {
  const MutexLock lock(mutex_);
  if (object_ != object || untrusted_ || changes_in_progress_ > 0 || punching_) return std::nullopt;
  Snapshot taken{.changed_at = changed_at_, .blocks = {}};
  const catalog::ChunkRecord record = blocks_.record(chunk);
  size_t next = 0;
  for (uint64_t bit = 0; bit < kBlocksPerChunk; ++bit) {
    if ((record.present >> bit & 1) == 0) continue;
    const uint64_t block = chunk * kBlocksPerChunk + bit;
    const uint32_t checksum = record.checksums[next++];
    if (checksum != 0) taken.blocks.push_back({block, checksum, block_length(block)});
  }
  return taken;
}

std::vector<uint64_t> CachedFile::drop_bad_blocks(ObjectId object, uint64_t chunk) {
  const std::optional<Snapshot> known = snapshot(object, chunk);
  if (known) look_for_mappings();  // before it is opened here
  const std::shared_ptr<io::File> file = known ? file_to_change(object) : nullptr;
  if (!file) return {};
  std::vector<uint64_t> bad;
  std::vector<std::byte> bytes;
  for (const Snapshot::Block& block : known->blocks) {
    bytes.resize(block.length);
    const auto got = file->read_at(bytes, block.number << block_shift_);
    if (!got || *got != bytes.size() || checksum32(bytes) != block.checksum)
      bad.push_back(block.number);
  }
  if (bad.empty()) return {};
  const bool is_used_now = is_used(*file).value_or(false);
  uint64_t freed = 0;
  bool is_current = false;
  bool is_exposed = false;
  Result<void> done;
  env_.claims.between_rounds([&] {
    {
      const MutexLock lock(mutex_);
      is_current = object_ == object && changed_at_ == known->changed_at &&
                   changes_in_progress_ == 0 && !punching_;
      if (!is_current) return;
      is_exposed = exposed_ || is_used_now;
      freed = withdraw(bad);
    }
    done = unclaim(object, chunk, bad);
  });
  if (!is_current) return {};  // what was read may have been half old, half new
  // The kernel's readers see the object as it is: the right bytes are written over the bad.
  for (size_t i = 0; done && !is_exposed && i < bad.size(); ++i)
    done = file->punch(bad[i] << block_shift_, block_bytes());
  {
    const MutexLock lock(mutex_);
    punching_ = false;
    changed_at_ = env_.changes.tick();
    if (done && !is_exposed && object_ == object) {
      extra_bytes_ -= static_cast<int64_t>(freed);
      env_.residents.release(owner_.id(), freed);
    }
  }
  if (!done) {
    warn("cannot take damaged blocks out of an object, dropping it", done.error());
    env_.metrics.store_errors.add();
    drop();
  }
  env_.claims.add(owner_.self());
  return bad;
}

// The blocks are not present any more; what they take is counted until they are punched out.
uint64_t CachedFile::withdraw(const std::vector<uint64_t>& blocks) {
  uint64_t bytes = 0;
  for (const uint64_t block : blocks) {
    bytes += disk_bytes(block);
    env_.memory.erase({object_, block});
    blocks_.clear(block);
  }
  extra_bytes_ += static_cast<int64_t>(bytes);
  punching_ = true;
  ++punches_;
  changed_at_ = env_.changes.tick();
  return bytes;
}

// Durably; between two rounds of claims, so the record says what has been synced and no more.
Result<void> CachedFile::unclaim(ObjectId object, uint64_t chunk,
                                 const std::vector<uint64_t>& blocks) {
  const auto without = [&](const catalog::ChunkRecord& claimed) {
    BlockMap rest;
    rest.load(chunk, claimed);
    for (const uint64_t block : blocks) rest.clear(block);
    catalog::ChunkRecord record = rest.record(chunk);
    record.next = claimed.next;
    return record;
  };
  catalog::NodeRecord node;  // as far as it tells where the chunk's record is
  node.object = object;
  {
    const MutexLock lock(mutex_);
    if (chunk == 0 && object_ == object && first_chunk_)
      node.first_chunk = first_chunk_ = without(*first_chunk_);
  }
  catalog::Batch batch;
  if (!node.first_chunk) {
    TRY_ASSIGN(const auto claimed, env_.catalog.chunk(node, chunk));
    if (claimed) batch.put(object, chunk, without(*claimed));
  }
  TRY(owner_.persist(std::move(batch)));
  return env_.catalog.commit();
}

bool CachedFile::tidy() {
  ObjectId object;
  bool is_untrusted = false;
  {
    const MutexLock lock(mutex_);
    if (!object_created_) return false;
    object = object_;
    is_untrusted = untrusted_;
  }
  if (is_untrusted) {
    drop();
    return true;
  }
  look_for_mappings();  // before it is opened here
  const auto file = file_to_change(object);
  // Also a program that has it mapped through a mount whose daemon was killed goes on reading it.
  if (!file || is_used(*file).value_or(false)) return false;
  std::vector<Range> absent;
  {
    const MutexLock lock(mutex_);
    if (object_ != object || exposed_ || changes_in_progress_ > 0 || punching_ || !fetches_.empty())
      return false;
    absent = absent_ranges();
    punching_ = true;
  }
  Result<void> done;
  for (size_t i = 0; done && i < absent.size(); ++i)
    done = file->punch(absent[i].offset, absent[i].length);
  const auto info = file->info();
  {
    const MutexLock lock(mutex_);
    punching_ = false;
    if (info && object_ == object) {
      extra_bytes_ =
          static_cast<int64_t>(info->allocated_bytes) - static_cast<int64_t>(block_bytes_held());
      env_.residents.settle(owner_.id(), info->allocated_bytes);
    }
  }
  if (!done) warn("cannot punch unused bytes out of an object", done.error());
  if (const auto stored = owner_.persist({}); !stored) env_.metrics.store_errors.add();
  // What was fetched meanwhile and not stored is fetched again when it is wanted.
  return done.has_value();
}

std::vector<CachedFile::Range> CachedFile::absent_ranges() const {
  std::vector<uint64_t> chunks = blocks_.chunks();
  std::ranges::sort(chunks);
  std::vector<Range> ranges;
  uint64_t begin = 0;  // of what is absent so far
  const auto end_at = [&](uint64_t offset) {
    if (offset > begin) ranges.push_back({begin, offset - begin});
  };
  for (const uint64_t chunk : chunks) {
    const uint64_t present = blocks_.record(chunk).present;
    for (uint64_t bit = 0; bit < kBlocksPerChunk; ++bit) {
      if ((present >> bit & 1) == 0) continue;
      const uint64_t offset = (chunk * kBlocksPerChunk + bit) << block_shift_;
      end_at(offset);
      begin = offset + block_bytes();
    }
  }
  // To the block's end: up to the file's, the disk would not free its last one.
  if (size_bytes_ != 0) end_at((last_block(0, size_bytes_) + 1) << block_shift_);
  return ranges;
}

}  // namespace larder::cache
