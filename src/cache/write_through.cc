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
    changed_at_ = env_.changes.tick();
    ++changes_in_progress_;
    has_object = object_created_;
    record_is_stable = has_object && !unsettled_;
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
  // Open while it still has the size it should have; it stays open until the change ends.
  if (has_object) {
    ObjectId object;
    if (!existing_object_file(&object)) drop();
  }
}

// The end of every change: the object has its new size and content.
void CachedFile::end_change_locked() {
  changed_at_ = env_.changes.tick();
  --changes_in_progress_;
}

// Gives the object the size the source's file has now.  Never is the object shorter than
// size_bytes_ or, once this returns, longer: the kernel may read it in passthrough.
bool CachedFile::resize(uint64_t new_size_bytes) {
  std::shared_ptr<io::File> file;
  uint64_t old_size = 0;
  {
    MutexLock lock(mutex_);
    file = object_file_;
    old_size = size_bytes_;
  }
  if (file && new_size_bytes > old_size && !file->truncate(new_size_bytes)) return false;
  {
    MutexLock lock(mutex_);
    if (object_ && new_size_bytes != old_size) {
      // The blocks at the old and at the new end change their length; their bytes up to the shorter
      // one stay.
      const uint64_t edge = std::min(old_size, new_size_bytes) >> block_shift_;
      env_.memory.erase_object(object_, edge);
      if (blocks_.has(edge)) blocks_.set(edge, 0);
      const uint64_t held = disk_bytes(edge, old_size);
      const uint64_t wanted = disk_bytes(edge, new_size_bytes);
      // One that takes more room now would have to ask for it: it is fetched again instead.
      const bool edge_stays = wanted != 0 && wanted <= held;
      if (edge_stays && blocks_.has(edge)) count_freed(held - wanted);
      if (!edge_stays && wanted != 0) count_left(clear_blocks(edge, edge));
      count_freed(clear_blocks(edge_stays ? edge + 1 : edge, UINT64_MAX));
    }
    size_bytes_ = new_size_bytes;
  }
  return !file || new_size_bytes >= old_size || file->truncate(new_size_bytes).has_value();
}

void CachedFile::end_change(uint64_t offset, uint64_t length,
                            std::optional<uint64_t> new_size_bytes) {
  const bool good = !new_size_bytes || resize(*new_size_bytes);
  {
    MutexLock lock(mutex_);
    const uint64_t first = std::min(offset, size_bytes_) >> block_shift_;
    const uint64_t last = length > UINT64_MAX - offset ? UINT64_MAX : last_block(offset, length);
    count_left(clear_blocks(first, last));
    end_change_locked();
  }
  if (!good) drop();
}

io::Task<void> CachedFile::refill_exposed() {
  if (!is_exposed()) co_return;
  io::Task<Result<void>> fetching = fetch_all();
  if (const Result<void> fetched = co_await std::move(fetching); !fetched)
    log::warning("a changed file cannot be fetched again for its readers: {}",
                 fetched.error().message());
}

void CachedFile::end_truncate(uint64_t new_size_bytes) {
  const bool good = resize(new_size_bytes);
  {
    MutexLock lock(mutex_);
    end_change_locked();
  }
  if (!good) drop();
}

CachedFile::Range CachedFile::part_of(uint64_t block, uint64_t begin, uint64_t end) const {
  const uint64_t start = block << block_shift_;
  begin = std::max(begin, start);
  end = std::min(end, start + block_bytes());
  return {begin, end > begin ? end - begin : 0};
}

// A present block has no holes: what is written into one later would take room nobody asked for.
bool CachedFile::fill_holes(io::File* file, const std::vector<Range>& holes) {
  for (const Range& hole : holes)
    if (file != nullptr && hole.length != 0 && !file->allocate(hole.offset, hole.length))
      return false;
  return true;
}

void CachedFile::end_zeros(uint64_t offset, uint64_t length,
                           std::optional<uint64_t> new_size_bytes) {
  bool good = !new_size_bytes || resize(*new_size_bytes);
  std::shared_ptr<io::File> file;
  uint64_t end = 0;
  std::vector<Range> zeroed;
  {
    MutexLock lock(mutex_);
    file = object_file_;
    end = std::min(size_bytes_, length > UINT64_MAX - offset ? UINT64_MAX : offset + length);
  }
  if (good && file && offset < end) good = file->punch(offset, end - offset).has_value();
  {
    MutexLock lock(mutex_);
    for (const uint64_t block : blocks_.present_in(
             offset >> block_shift_, offset < end ? last_block(offset, end - offset) : 0)) {
      blocks_.set(block, 0);
      zeroed.push_back(part_of(block, offset, end));
    }
    if (object_ && offset < end) env_.memory.erase_object(object_, offset >> block_shift_);
  }
  good = good && fill_holes(file.get(), zeroed);
  {
    MutexLock lock(mutex_);
    end_change_locked();
  }
  if (!good) drop();
}

// Of a write that begins behind the old end: what is between them in blocks that will be present.
std::vector<CachedFile::Range> CachedFile::holes_before(uint64_t offset, uint64_t old_size_bytes,
                                                        const std::vector<uint64_t>& keep) const {
  if (offset <= old_size_bytes) return {};
  const uint64_t first = offset >> block_shift_;
  const uint64_t edge = old_size_bytes >> block_shift_;
  std::vector<Range> holes;
  MutexLock lock(mutex_);
  if (blocks_.has(edge)) holes.push_back(part_of(edge, old_size_bytes, offset));
  if (!keep.empty() && keep.front() == first && (first != edge || holes.empty()))
    holes.push_back(part_of(first, old_size_bytes, offset));
  return holes;
}

io::Task<Result<uint64_t>> CachedFile::write(std::shared_ptr<source::SourceFile> file,
                                             buffer::BufferRef data, uint64_t offset, bool append) {
  const uint64_t old_size = size_bytes();
  if (append) offset = old_size;
  const uint64_t length = data.size();
  io::Task<void> beginning = begin_change(offset, length);
  co_await std::move(beginning);
  source::Outcome<void> writing = append ? file->append(data) : file->write(data, offset);
  const Result<void> written = co_await std::move(writing);
  if (!written) {
    end_change(offset, length, std::nullopt);  // how much of it arrived is not known
    io::Task<void> refilling = refill_exposed();
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
      io::Task<void> refilling = refill_exposed();
      co_await std::move(refilling);
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
    // Between the old end and the write are zeros, in the object too.
    const bool from_start = offset <= start || old_size_bytes <= start;
    return from_start && end >= std::min(start + block_bytes(), new_size);
  };
  std::vector<uint64_t> keep;  // blocks that will be present
  uint64_t reserve = 0;
  const uint64_t edge = old_size_bytes >> block_shift_;  // the block that grows with the file
  const uint64_t edge_growth = disk_bytes(edge, new_size) - disk_bytes(edge, old_size_bytes);
  const bool exposed = is_exposed();
  ObjectId object;
  std::shared_ptr<io::File> file;
  {
    MutexLock lock(mutex_);
    object = object_;
    file = object_file_;
    if (new_size > old_size_bytes && blocks_.has(edge)) reserve += edge_growth;
    for (uint64_t block = first; data.size() != 0 && block <= last; ++block) {
      const bool present = blocks_.has(block);
      if (!present && (!covered(block) || punching_)) continue;
      if (!present) reserve += disk_bytes(block, new_size);
      keep.push_back(block);
    }
  }
  const Hints hints = reserve != 0 ? owner_.hints() : Hints{};
  if (reserve != 0 && (!hints.admit || !env_.residents.reserve(owner_.id(), reserve, hints))) {
    MutexLock lock(mutex_);
    if (edge_growth != 0 && blocks_.has(edge)) {
      count_left(disk_bytes(edge, old_size_bytes));
      blocks_.clear(edge);
    }
    std::erase_if(keep, [&](uint64_t block) REQUIRES(mutex_) { return !blocks_.has(block); });
    env_.metrics.bypassed.add(reserve);
    reserve = 0;
  }
  const std::vector<Range> holes = holes_before(offset, old_size_bytes, keep);
  bool good = true;
  if (!file && !keep.empty()) {  // none of them was present
    auto created = make_object_file(&object);
    good = created.has_value();
    if (good) file = *created;
  }
  for (size_t i = 0; good && file && i < keep.size() && !exposed;) {
    size_t j = i;
    while (j + 1 < keep.size() && keep[j + 1] == keep[j] + 1) ++j;
    const uint64_t from = std::max(offset, keep[i] << block_shift_);
    const uint64_t to = std::min(end, (keep[j] + 1) << block_shift_);
    io::Task<Result<void>> writing =
        io::Reactor::current()->write(*file, data.data().subspan(from - offset, to - from), from);
    good = (co_await std::move(writing)).has_value();
    i = j + 1;
  }
  if (good && file && exposed) {  // the kernel's readers see all of it, whatever is kept
    io::Task<Result<void>> writing = io::Reactor::current()->write(*file, data.data(), offset);
    good = (co_await std::move(writing)).has_value();
  }
  if (good && file && new_size > old_size_bytes)
    good = fill_holes(file.get(), holes) && file->truncate(new_size).has_value();
  bool mine = false;
  {
    MutexLock lock(mutex_);
    mine = good && object_ == object && object_file_ == file;
    if (mine) env_.residents.charge(owner_.id(), reserve);
    size_bytes_ = new_size;
    if (object_) {
      for (uint64_t block = first; data.size() != 0 && block <= last; ++block)
        env_.memory.erase({object_, block});
      // The block at the old end grew by zeros.
      if (new_size > old_size_bytes) {
        env_.memory.erase({object_, edge});
        if (blocks_.has(edge)) blocks_.set(edge, 0);
      }
    }
    if (mine)
      for (const uint64_t block : keep) {
        const uint64_t start = block << block_shift_;
        const bool whole = offset <= start && covered(block);
        blocks_.set(
            block,
            whole ? checksum32(data.data().subspan(start - offset, block_length(block))) : 0);
      }
    end_change_locked();
  }
  if (!mine) env_.residents.cancel(reserve);
  if (!good) {
    // The object may hold any mixture; the source has what was written.
    env_.metrics.store_errors.add();
    drop();
  }
}

}  // namespace larder::cache
