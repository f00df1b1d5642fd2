// CachedFile's writing side, write-through: the source first, then the object.  Write-back will
// replace this file: the bracket begin_change ... end_change and the object's update stay, the
// source's turn comes later.

#include <algorithm>

#include "base/log.h"
#include "cache/cached_file.h"
#include "cache/claims.h"

namespace larder::cache {

void CachedFile::detach(uint64_t first_block, uint64_t last_block,
                        std::vector<std::shared_ptr<Fetch>>* storing) {
  for (auto it = fetches_.begin(); it != fetches_.end();) {
    if (it->first >= first_block && it->first <= last_block) {
      // A run is detached whole; its other blocks are fetched again by whoever wants them.
      it->second->detached = true;
      if (it->second->storing) storing->push_back(it->second);
      it = fetches_.erase(it);
    } else {
      ++it;
    }
  }
}

io::Task<void> CachedFile::begin_change(uint64_t offset, uint64_t length) {
  std::vector<std::shared_ptr<Fetch>> storing;
  bool record_is_stable = false;
  bool has_object = false;
  {
    MutexLock lock(mutex_);
    has_object = object_created_ && !object_file_;
  }
  // Open while its size is still the file's, so that it can follow the change.
  if (has_object) {
    ObjectId object;
    if (const auto opened = object_file(&object); !opened && !opened.error().is(Code::kStale))
      drop();
  }
  {
    MutexLock lock(mutex_);
    changed_at_ = env_.changes.tick();
    ++changes_in_progress_;
    record_is_stable = object_created_ && !unsettled_;
    own_change_ = true;
    unsettled_ = true;
    // Growing moves the old end: the block there gets longer.
    const uint64_t first = std::min(offset, size_bytes_) >> block_shift_;
    const uint64_t last = length > UINT64_MAX - offset ? UINT64_MAX : last_block(offset, length);
    detach(first, last, &storing);
  }
  if (record_is_stable)
    if (const auto stored = owner_.persist({}); !stored) env_.metrics.store_errors.add();
  // What was being written to the object must be out of the way before the change is.
  for (const auto& fetch : storing) co_await fetch->stored;
}

void CachedFile::end_change(uint64_t offset, uint64_t length,
                            std::optional<uint64_t> new_size_bytes) {
  std::shared_ptr<io::File> resize;
  {
    MutexLock lock(mutex_);
    changed_at_ = env_.changes.tick();
    --changes_in_progress_;
    const uint64_t first = std::min(offset, size_bytes_) >> block_shift_;
    const uint64_t last = length > UINT64_MAX - offset ? UINT64_MAX : last_block(offset, length);
    clear_blocks(first, last);
    if (new_size_bytes && *new_size_bytes != size_bytes_) {
      size_bytes_ = *new_size_bytes;
      resize = object_file_;
    }
  }
  if (resize && !resize->truncate(*new_size_bytes)) drop();
}

io::Task<void> CachedFile::refill_pinned() {
  {
    MutexLock lock(mutex_);
    if (pins_ == 0) co_return;
  }
  io::Task<Result<void>> fetching = fetch_all();
  if (const Result<void> fetched = co_await std::move(fetching); !fetched)
    log::warning("a changed file cannot be fetched again for its readers: {}",
                 fetched.error().message());
}

void CachedFile::end_truncate(uint64_t new_size_bytes) {
  std::shared_ptr<io::File> resize;
  {
    MutexLock lock(mutex_);
    changed_at_ = env_.changes.tick();
    --changes_in_progress_;
    const uint64_t old_size = size_bytes_;
    if (object_) {
      // The blocks at the old and at the new end change their length; their bytes up to the shorter
      // one stay.
      const uint64_t edge = std::min(old_size, new_size_bytes) >> block_shift_;
      env_.memory.erase_object(object_, edge);
      if (blocks_.has(edge)) blocks_.set(edge, 0);
      const uint64_t held = disk_bytes(edge, old_size);
      const uint64_t wanted = disk_bytes(edge, new_size_bytes);
      // One that takes more room now would have to ask for it: it is fetched again instead.
      const bool edge_stays = wanted != 0 && wanted <= held;
      if (edge_stays && blocks_.has(edge)) env_.residents.release(owner_.id(), held - wanted);
      clear_blocks(edge_stays ? edge + 1 : edge, UINT64_MAX);
    }
    size_bytes_ = new_size_bytes;
    resize = object_file_;
  }
  if (resize && !resize->truncate(new_size_bytes)) drop();
}

io::Task<Result<uint64_t>> CachedFile::write(std::shared_ptr<source::SourceFile> file,
                                             buffer::BufferRef data, uint64_t offset, bool append) {
  const uint64_t old_size = size_bytes();
  if (append) offset = old_size;
  const uint64_t length = data.size();
  io::Task<void> beginning = begin_change(offset, length);
  co_await std::move(beginning);
  source::Outcome<void> writing = file->write(data, offset);
  const Result<void> written = co_await std::move(writing);
  if (!written) {
    end_change(offset, length, std::nullopt);  // how much of it arrived is not known
    io::Task<void> refilling = refill_pinned();
    co_await std::move(refilling);
    co_return fail(written.error());
  }
  if (append) {
    source::Outcome<Attributes> asking = file->attributes();
    const Result<Attributes> now = co_await std::move(asking);
    if (!now || now->size_bytes != old_size + length) {
      // Somebody else appends too: where our bytes are, and whose are before them, only the source
      // knows.
      end_change(0, UINT64_MAX, now ? std::optional(now->size_bytes) : std::nullopt);
      co_return now ? now->size_bytes - length : offset;
    }
  }
  io::Task<void> updating = update_object(data, offset, old_size);
  co_await std::move(updating);
  co_return offset;
}

// The source has the bytes: brings the object along and ends the change.  A block becomes or stays
// present when it was present, or when the write covers all of it.
io::Task<void> CachedFile::update_object(buffer::BufferRef data, uint64_t offset,
                                         uint64_t old_size_bytes) {
  const uint64_t end = offset + data.size();
  const uint64_t new_size = std::max(old_size_bytes, end);
  const uint64_t first = offset >> block_shift_;
  const uint64_t last = last_block(offset, data.size());
  const auto covered = [&](uint64_t block) {
    const uint64_t start = block << block_shift_;
    // Between the old end and the write lies a hole, which the object has too.
    const bool from_start = offset <= start || old_size_bytes <= start;
    return from_start && end >= std::min(start + block_bytes(), new_size);
  };
  std::vector<uint64_t> keep;  // blocks that will be present
  uint64_t reserve = 0;
  const uint64_t edge = old_size_bytes >> block_shift_;  // the block that grows with the file
  const uint64_t edge_growth = disk_bytes(edge, new_size) - disk_bytes(edge, old_size_bytes);
  bool has_object = false;
  {
    MutexLock lock(mutex_);
    size_bytes_ = new_size;
    has_object = object_created_;
    if (object_) {
      env_.memory.erase_object(object_, std::min(offset, old_size_bytes) >> block_shift_);
      // The block at the old end grew by zeros.
      if (new_size > old_size_bytes && blocks_.has(edge)) {
        blocks_.set(edge, 0);
        reserve += edge_growth;
      }
    }
    for (uint64_t block = first; data.size() != 0 && block <= last; ++block) {
      const bool present = blocks_.has(block);
      if (!present && !covered(block)) continue;
      if (!present) reserve += disk_bytes(block);
      keep.push_back(block);
    }
  }
  if (reserve != 0 && !env_.residents.reserve(owner_.id(), reserve)) {
    MutexLock lock(mutex_);
    if (edge_growth != 0 && blocks_.has(edge)) {
      env_.residents.release(owner_.id(), disk_bytes(edge, old_size_bytes));
      blocks_.clear(edge);
    }
    std::erase_if(keep, [&](uint64_t block) REQUIRES(mutex_) { return !blocks_.has(block); });
    env_.metrics.bypassed.add(reserve);
    reserve = 0;
  }
  bool good = true;
  ObjectId object;
  if (!keep.empty() || has_object) {
    auto file = object_file(&object);
    good = file.has_value();
    if (good && new_size > old_size_bytes) good = (*file)->truncate(new_size).has_value();
    for (size_t i = 0; good && i < keep.size();) {
      size_t j = i;
      while (j + 1 < keep.size() && keep[j + 1] == keep[j] + 1) ++j;
      const uint64_t from = std::max(offset, keep[i] << block_shift_);
      const uint64_t to = std::min(end, (keep[j] + 1) << block_shift_);
      io::Task<Result<void>> writing = io::Reactor::current()->write(
          **file, data.data().subspan(from - offset, to - from), from);
      const Result<void> written = co_await std::move(writing);
      good = written.has_value();
      i = j + 1;
    }
  }
  bool mine = false;
  {
    MutexLock lock(mutex_);
    changed_at_ = env_.changes.tick();
    --changes_in_progress_;
    mine = good && object_ == object;
    if (mine) env_.residents.charge(owner_.id(), reserve);
    if (mine)
      for (const uint64_t block : keep) {
        const uint64_t start = block << block_shift_;
        const bool whole = offset <= start && covered(block);
        blocks_.set(
            block,
            whole ? checksum32(data.data().subspan(start - offset, block_length(block))) : 0);
      }
  }
  if (!mine) env_.residents.cancel(reserve);
  if (!good) {
    // The object may hold any mixture; the source has what was written.
    env_.metrics.store_errors.add();
    drop();
  }
}

}  // namespace larder::cache
