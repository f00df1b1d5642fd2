// CachedFile's eviction: small objects go whole, of large ones the end is punched out.
//
// Order of a punch: the blocks stop being present; their claims are removed from the catalog, and
// that is made durable; then the range is punched.  A crash in between leaves bytes without a
// claim, never a claim without its bytes.

#include <algorithm>

#include "cache/cached_file.h"
#include "cache/claims.h"

namespace larder::cache {

using catalog::kBlocksPerChunk;

bool CachedFile::is_large(uint64_t wanted_bytes) {
  look_for_mappings();
  const MutexLock lock(mutex_);
  return !exposed_ &&
         block_bytes_held() > std::max(env_.options.evict_whole_bytes_max, wanted_bytes);
}

bool CachedFile::evict() {
  const bool is_told = look_for_mappings();
  Dropped dropped;
  {
    const MutexLock lock(mutex_);
    if (pins_ > 0 || (exposed_ && is_told) || changes_in_progress_ > 0 || punching_) return false;
    dropped = drop_locked();
  }
  finish_drop(std::move(dropped));
  return true;
}

bool CachedFile::punch(uint64_t wanted_bytes) {
  ObjectId object;
  {
    const MutexLock lock(mutex_);
    if (!object_created_) return false;
    object = object_;
  }
  look_for_mappings();  // before it is opened here, which would be taken for somebody's use
  const std::shared_ptr<io::File> file = file_to_change(object);
  // Not only larder's own readers count: a program may have a file mapped through a mount whose
  // daemon was killed.
  if (!file || is_used(*file).value_or(false)) return false;
  std::optional<Hole> hole;
  Result<void> done;
  env_.claims.between_rounds([&] {
    {
      const MutexLock lock(mutex_);
      hole = begin_punch(object, file, wanted_bytes);
    }
    if (hole) done = unclaim(*hole);
  });
  if (!hole) return false;
  if (done) done = carry_out(*hole);
  {
    const MutexLock lock(mutex_);
    punching_ = false;
    changed_at_ = env_.changes.tick();
    if (done && object_ == object) {
      extra_bytes_ -= static_cast<int64_t>(hole->bytes);
      count_freed(hole->bytes);
    }
  }
  if (done) {
    env_.metrics.punched_bytes.add(hole->bytes);
  } else {
    warn("cannot punch room out of an object, dropping it", done.error());
    env_.metrics.store_errors.add();
    drop();
  }
  // What a round of claims passed over while this changed.
  env_.claims.add(owner_.self());
  return true;
}

std::optional<CachedFile::Hole> CachedFile::begin_punch(ObjectId object,
                                                        std::shared_ptr<io::File> file,
                                                        uint64_t wanted_bytes) {
  if (exposed_ || changes_in_progress_ > 0 || punching_ || untrusted_ || object_ != object)
    return std::nullopt;
  std::vector<uint64_t> chunks = blocks_.chunks();
  std::ranges::sort(chunks, std::greater());
  Hole hole{.object = object, .file = std::move(file)};
  for (const uint64_t chunk : chunks) {
    if (hole.bytes >= wanted_bytes && hole.bytes > 0) break;
    const uint64_t first = chunk * kBlocksPerChunk;
    const uint64_t last = first + kBlocksPerChunk - 1;
    const bool is_in_use = std::ranges::any_of(
        fetches_, [&](const auto& fetch) { return fetch.first >= first && fetch.first <= last; });
    if (is_in_use) continue;
    for (const uint64_t block : blocks_.present_in(first, last)) {
      hole.bytes += disk_bytes(block);
      env_.memory.erase({object_, block});
    }
    blocks_.erase_chunk(chunk);
    if (chunk == 0 && first_chunk_) first_chunk_.emplace();
    hole.chunks.push_back(chunk);
  }
  if (hole.chunks.empty()) return std::nullopt;
  if (further_chunks_)
    hole.relinked = further_chunks_->remove({hole.chunks.begin(), hole.chunks.end()});
  count_left(hole.bytes);
  punching_ = true;
  ++punches_;
  changed_at_ = env_.changes.tick();
  return hole;
}

Result<void> CachedFile::unclaim(const Hole& hole) {
  catalog::Batch batch;
  for (const uint64_t chunk : hole.chunks) batch.remove(hole.object, chunk);
  catalog::NodeRecord node;  // as far as it tells where the chunks' records are
  node.object = hole.object;
  for (const uint64_t chunk : hole.relinked) {
    TRY_ASSIGN(auto claimed, env_.catalog.chunk(node, chunk));
    if (!claimed) return fail(Code::kCorrupt, "a chunk's record");
    {
      const MutexLock lock(mutex_);
      if (!further_chunks_) return fail(Code::kStale, "object");
      claimed->next = further_chunks_->next(chunk);
    }
    batch.put(hole.object, chunk, *claimed);
  }
  TRY(owner_.persist(std::move(batch)));
  return env_.catalog.commit();
}

Result<void> CachedFile::carry_out(const Hole& hole) {
  const uint64_t chunk_bytes = kBlocksPerChunk << block_shift_;
  for (const uint64_t chunk : hole.chunks) TRY(hole.file->punch(chunk * chunk_bytes, chunk_bytes));
  return {};
}

}  // namespace larder::cache
