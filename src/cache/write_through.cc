// CachedFile's writing side, write-through: the source first, then the object.  Write-back will
// replace this file: the bracket begin_change ... end_change and the object's update stay, the
// source's turn comes later.

#include <algorithm>

#include "base/check.h"
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
  io::Task<bool> beginning = begin_change_of(nullptr, offset, length);
  const bool has_begun = co_await std::move(beginning);
  CHECK(has_begun);
}

io::Task<bool> CachedFile::begin_change_of(std::shared_ptr<Incarnation> of, uint64_t offset,
                                           uint64_t length) {
  if (wants_renewal()) {
    // A change is made to an object of the file's size.
    io::Task<Result<void>> renewing = renew_end();
    const Result<void> renewed = co_await std::move(renewing);
    if (!renewed) drop();
  }
  std::vector<std::shared_ptr<Fetch>> storing;
  bool record_is_stable = false;
  bool has_object = false;
  {
    MutexLock lock(mutex_);
    if (of && of->is_parted()) co_return false;
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
  co_return true;
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
                                             buffer::BufferRef data, uint64_t offset, Place place,
                                             std::shared_ptr<Incarnation> of) {
  const bool append = place != Place::kOffset;
  const uint64_t old_size = size_bytes();
  if (append) offset = old_size;
  const uint64_t length = data.size();
  io::Task<bool> beginning = begin_change_of(std::move(of), offset, length);
  if (!co_await std::move(beginning)) co_return fail(Code::kStale, "replaced outside");
  source::Outcome<void> writing = append ? file->append(data) : file->write(data, offset);
  const Result<void> written = co_await std::move(writing);
  if (!written) {
    io::Task<void> ending = end_failed_change(file, offset, length);
    co_await std::move(ending);
    co_return fail(written.error());
  }
  note_unsynced(offset, offset + length);
  if (append) {
    source::Outcome<Attributes> asking = file->attributes();
    const Result<Attributes> now = co_await std::move(asking);
    if (now && now->size_bytes > offset + length) note_unsynced(offset, now->size_bytes);
    if (!now || now->size_bytes != old_size + length) {
      // Somebody else appends too: where our bytes are, and whose are before them, only the source
      // knows.
      end_change(0, UINT64_MAX, now ? std::optional(now->size_bytes) : std::nullopt);
      io::Task<void> refilling = refill_exposed(0, UINT64_MAX);
      co_await std::move(refilling);
      co_return now ? now->size_bytes - length : offset;
    }
    if (place == Place::kUnprovenEnd) {
      // The size fits, but bytes of another may have come and gone: what is there is fetched.
      end_change(offset, length, now->size_bytes);
      io::Task<void> refilling = refill_exposed(offset, length);
      co_await std::move(refilling);
      co_return offset;
    }
  }
  io::Task<void> updating = update_object(data, offset, old_size);
  co_await std::move(updating);
  co_return offset;
}

// A write that the source has taken, on its way into the object.
struct CachedFile::Update {
  uint64_t offset = 0;
  uint64_t end = 0;
  uint64_t old_size_bytes = 0;  // of the file
  uint64_t new_size_bytes = 0;
  uint8_t block_shift = 0;
  ObjectId object{};
  std::shared_ptr<io::File> file{};  // null: there is none yet
  bool is_exposed = false;
  std::vector<uint64_t> keep{};  // blocks that will be present, in order
  uint64_t reserved_bytes = 0;
  bool is_refused = false;  // there was no room for some of it

  bool is_empty() const { return offset == end; }
  uint64_t first() const { return offset >> block_shift; }
  uint64_t last() const { return (end - 1) >> block_shift; }
  // The block that grows with the file.
  uint64_t edge() const { return old_size_bytes >> block_shift; }
  bool grows() const { return new_size_bytes > old_size_bytes; }
  // Nothing in the block is other than what is written, or zeros between the old end and it.
  bool covers(uint64_t block) const {
    const uint64_t start = block << block_shift;
    const uint64_t block_end = std::min(start + (uint64_t{1} << block_shift), new_size_bytes);
    return (offset <= start || old_size_bytes <= start) && end >= block_end;
  }
  std::span<const std::byte> part(const buffer::BufferRef& data, uint64_t from, uint64_t to) const {
    return data.data().subspan(from - offset, to - from);
  }
};

// The source has the bytes: brings the object along and ends the change.  A block becomes or stays
// present when it was present, or when the write covers all of it.
io::Task<void> CachedFile::update_object(buffer::BufferRef data, uint64_t offset,
                                         uint64_t old_size_bytes) {
  const uint64_t end = offset + data.size();
  Update update{.offset = offset,
                .end = end,
                .old_size_bytes = old_size_bytes,
                .new_size_bytes = std::max(old_size_bytes, end),
                .block_shift = block_shift_,
                .is_exposed = is_exposed()};
  admit_update(update);
  const std::vector<Range> holes = holes_before(offset, old_size_bytes, update.keep);
  bool good = true;
  if (!update.file && !update.keep.empty()) {  // none of them was present
    auto created = make_object_file(&update.object);
    good = created.has_value();
    if (good) update.file = *created;
  }
  if (good && update.file) {
    io::Task<bool> writing = write_object(&update, data);
    good = co_await std::move(writing);
  }
  if (good && update.file && update.grows())
    good = fill_holes(update.file.get(), holes) &&
           update.file->truncate(update.new_size_bytes).has_value();
  end_update(update, data, good);
  // Written all the same, for the kernel's readers: what it takes is counted at once.
  if (good && update.file && update.is_refused && update.is_exposed) count_object(update);
  if (!good) {
    // The object may hold any mixture; the source has what was written.
    env_.metrics.store_errors.add();
    drop();
  }
}

// Says what is to be kept, and has room for it.
void CachedFile::admit_update(Update& update) {
  const uint64_t edge = update.edge();
  const uint64_t edge_bytes = disk_bytes(edge, update.old_size_bytes);
  const uint64_t edge_growth = disk_bytes(edge, update.new_size_bytes) - edge_bytes;
  uint64_t wanted_bytes = 0;
  {
    MutexLock lock(mutex_);
    update.object = object_;
    update.file = object_file_;
    if (update.grows() && blocks_.has(edge)) wanted_bytes += edge_growth;
    for (uint64_t block = update.first(); !update.is_empty() && block <= update.last(); ++block) {
      const bool present = blocks_.has(block);
      if (!present && (!update.covers(block) || punching_)) continue;
      if (!present) wanted_bytes += disk_bytes(block, update.new_size_bytes);
      update.keep.push_back(block);
    }
  }
  if (wanted_bytes == 0) return;
  const Hints hints = owner_.hints();
  if (hints.admit && env_.residents.reserve(owner_.id(), wanted_bytes, hints)) {
    update.reserved_bytes = wanted_bytes;
    return;
  }
  update.is_refused = true;
  env_.metrics.bypassed.add(wanted_bytes);
  MutexLock lock(mutex_);
  if (edge_growth != 0 && blocks_.has(edge)) {
    count_left(edge_bytes);
    blocks_.clear(edge);
  }
  std::erase_if(update.keep, [&](uint64_t block) REQUIRES(mutex_) { return !blocks_.has(block); });
}

// What is kept; all of it where the kernel's readers see it, whatever is kept.
io::Task<bool> CachedFile::write_object(const Update* update, buffer::BufferRef data) {
  io::Reactor& reactor = *io::Reactor::current();
  if (update->is_exposed) {
    io::Task<Result<void>> writing = reactor.write(*update->file, data.data(), update->offset);
    co_return (co_await std::move(writing)).has_value();
  }
  const std::vector<uint64_t>& keep = update->keep;
  for (size_t i = 0; i < keep.size();) {
    size_t j = i;
    while (j + 1 < keep.size() && keep[j + 1] == keep[j] + 1) ++j;
    const uint64_t from = std::max(update->offset, keep[i] << block_shift_);
    const uint64_t to = std::min(update->end, (keep[j] + 1) << block_shift_);
    io::Task<Result<void>> writing =
        reactor.write(*update->file, update->part(data, from, to), from);
    const Result<void> written = co_await std::move(writing);
    if (!written) co_return false;
    i = j + 1;
  }
  co_return true;
}

// What it takes on the disk, whatever is known of its blocks.
void CachedFile::count_object(const Update& update) {
  const auto info = update.file->info();
  MutexLock lock(mutex_);
  if (!info || object_ != update.object || !fetches_.empty()) return;  // a claim will look
  extra_bytes_ =
      static_cast<int64_t>(info->allocated_bytes) - static_cast<int64_t>(block_bytes_held());
  env_.residents.settle(owner_.id(), info->allocated_bytes);
}

void CachedFile::end_update(const Update& update, const buffer::BufferRef& data, bool is_written) {
  bool mine = false;  // nobody dropped the object meanwhile
  {
    MutexLock lock(mutex_);
    mine = is_written && object_ == update.object && object_file_ == update.file;
    if (mine) env_.residents.charge(owner_.id(), update.reserved_bytes);
    size_bytes_ = update.new_size_bytes;
    if (object_) {
      for (uint64_t block = update.first(); !update.is_empty() && block <= update.last(); ++block)
        env_.memory.erase({object_, block});
      // The block at the old end grew by zeros.
      if (update.grows()) {
        env_.memory.erase({object_, update.edge()});
        if (blocks_.has(update.edge())) blocks_.set(update.edge(), 0);
      }
    }
    for (size_t i = 0; mine && i < update.keep.size(); ++i) {
      const uint64_t block = update.keep[i];
      const uint64_t start = block << block_shift_;
      const bool whole = update.offset <= start && update.covers(block);
      blocks_.set(block,
                  whole ? checksum32(update.part(data, start, start + block_length(block))) : 0);
    }
    end_change_locked();
  }
  if (!mine) env_.residents.cancel(update.reserved_bytes);
}

}  // namespace larder::cache
