// CachedFile's objects that the kernel reads, when the source's file was changed in place.  The
// object stays and takes the new bytes over the old, so its readers find of each byte the old or
// the new one, and never a zero that nobody wrote.
//
// In this order:
//  1. No block is present any more, and what is fetched is not stored (want_renewal).
//  2. What was being stored of the old version has ended; a file that became shorter is cut; from
//     then on what is fetched is stored (settle_renewal).
//  3. What lies behind the object's end is fetched and written in order: the object grows by its
//     bytes (renew_end), and over a large hole by one of its own.
//  4. The rest is fetched in any order (renew_rest), but for what is a hole on both sides.
// Changes made here wait for 2 and 3, or carry them out.  After a crash the record says that the
// object is not to be trusted.

#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "cache/cached_file.h"

namespace larder::cache {
namespace {

// A file that changes as fast as its end can be fetched is given up for the time being.
constexpr int kEndAttemptsMax = 8;
// A file costs what is there, not what its size says: this much is fetched without asking whether
// it is a hole.
constexpr uint64_t kStrideBytes = 16 << 20;

}  // namespace

void CachedFile::want_renewal(uint64_t new_size_bytes) {
  changed_at_ = env_.changes.tick();
  ++changes_in_progress_;
  detach(0, UINT64_MAX, &renewal_.storing);
  count_left(clear_blocks(0, UINT64_MAX));
  unsettled_ = true;
  const uint64_t bytes = std::min(object_bytes(), new_size_bytes);
  renewal_.object_bytes = bytes < new_size_bytes ? std::optional(bytes) : std::nullopt;
  renewal_.is_wanted = true;
  renewal_.must_settle = true;
  size_bytes_ = new_size_bytes;
}

bool CachedFile::wants_renewal() const {
  MutexLock lock(mutex_);
  return renewal_.is_wanted;
}

bool CachedFile::begin_renewal() {
  MutexLock lock(mutex_);
  return renewal_.is_wanted && !std::exchange(renewal_.is_running, true);
}

bool CachedFile::end_renewal(bool is_done) {
  MutexLock lock(mutex_);
  if (renewal_.must_settle) return true;
  renewal_.is_running = false;
  if (is_done) renewal_.is_wanted = false;
  return false;
}

std::optional<uint64_t> CachedFile::noted_bytes() const {
  MutexLock lock(mutex_);
  return renewal_.object_bytes;
}

std::optional<uint64_t> CachedFile::visible_bytes() const {
  std::shared_ptr<io::File> object;
  std::optional<uint64_t> bytes;
  {
    MutexLock lock(mutex_);
    bytes = renewal_.object_bytes;
    // Not yet cut, it shows more than there is.
    if (!renewal_.must_settle) object = object_file_;
  }
  // Its readers find what has just been written before that is noted here.
  if (bytes && object)
    if (const auto info = object->info()) bytes = std::max(*bytes, info->size_bytes);
  return bytes;
}

io::Task<void> CachedFile::settle_renewal() {
  ObjectId object;
  std::vector<std::shared_ptr<Fetch>> storing;
  {
    MutexLock lock(mutex_);
    if (!std::exchange(renewal_.must_settle, false)) co_return;
    object = object_;
    storing = std::exchange(renewal_.storing, {});
  }
  for (const auto& fetch : storing) co_await fetch->stored;
  const std::shared_ptr<io::File> file = file_to_change(object);
  const auto info = file ? file->info() : fail(Code::kNotFound, "object");
  uint64_t bytes = 0;
  {
    MutexLock lock(mutex_);
    bytes = object_bytes();
  }
  const bool good = info && (info->size_bytes <= bytes || file->truncate(bytes));
  {
    MutexLock lock(mutex_);
    end_change_locked();
  }
  if (!good) drop();
}

// The fetch that brings the bytes at the object's end; null: there are none to be had.
std::shared_ptr<CachedFile::Fetch> CachedFile::fetch_at_end(
    std::vector<std::shared_ptr<Fetch>>* started) {
  MutexLock lock(mutex_);
  if (!renewal_.object_bytes || !object_) return nullptr;
  const uint64_t block = *renewal_.object_bytes >> block_shift_;
  if (const auto known = fetches_.find(block); known != fetches_.end()) return known->second;
  const uint64_t run_max = std::max<uint64_t>(1, env_.options.fetch_bytes_max >> block_shift_);
  const uint64_t last = std::min(block + run_max - 1, (size_bytes_ - 1) >> block_shift_);
  uint64_t run_last = block;
  while (run_last < last && !fetches_.contains(run_last + 1)) ++run_last;
  return started->emplace_back(start_fetch(block, run_last));
}

// The block of the first byte from `offset` on that may be other than zero, in the source's file or
// in the object.
io::Task<uint64_t> CachedFile::next_data(uint64_t offset) {
  const uint64_t end = size_bytes();
  if (offset + kStrideBytes >= end) co_return offset;
  io::Task<Result<std::shared_ptr<source::SourceFile>>> opening = reader();
  const auto by = co_await std::move(opening);
  if (!by) co_return offset;
  source::Outcome<uint64_t> seeking = (*by)->seek(offset, SEEK_DATA);
  const Result<uint64_t> theirs = co_await std::move(seeking);
  const bool none = !theirs && theirs.error().is(static_cast<Code>(ENXIO));
  if (!theirs && !none) co_return offset;
  ObjectId ignored;
  const auto object = existing_object_file(&ignored);
  if (!object) co_return offset;
  const auto ours = (*object)->next_data(offset);
  if (!ours) co_return offset;
  const uint64_t next = std::min({none ? end : *theirs, ours->value_or(end), end});
  co_return std::max(offset, next & ~(block_bytes() - 1));
}

// Over the hole that the source's file has there; true when there is one.
io::Task<bool> CachedFile::grow_over_hole() {
  const std::optional<uint64_t> from = noted_bytes();
  if (!from) co_return false;
  ObjectId object;
  const auto file = existing_object_file(&object);
  io::Task<uint64_t> looking = next_data(*from);
  const uint64_t to = co_await std::move(looking);
  if (to == *from || !file) co_return false;
  // Under the lock, with nothing on its way into the object: what a fetch writes behind its end
  // would be cut off.
  MutexLock lock(mutex_);
  const bool is_so_still = object_ == object && renewal_.object_bytes == from &&
                           !renewal_.must_settle && to <= size_bytes_ && fetches_.empty();
  if (!is_so_still || !(*file)->truncate(to)) co_return false;
  renewal_.object_bytes = to < size_bytes_ ? std::optional(to) : std::nullopt;
  co_return true;
}

io::Task<Result<void>> CachedFile::renew_end() {
  for (int left = kEndAttemptsMax; left > 0;) {
    io::Task<void> settling = settle_renewal();
    co_await std::move(settling);
    io::Task<bool> growing = grow_over_hole();
    if (co_await std::move(growing)) continue;
    const std::optional<uint64_t> before = noted_bytes();
    std::vector<std::shared_ptr<Fetch>> started;
    const std::shared_ptr<Fetch> fetch = fetch_at_end(&started);
    if (!fetch) co_return Result<void>();
    spawn_fetches(started);
    co_await fetch->stored;
    if (fetch->error) co_return fail(*fetch->error);
    if (noted_bytes() == before) --left;
  }
  co_return fail(Code::kIo, "the object does not take the new bytes");
}

io::Task<Result<void>> CachedFile::renew_rest() {
  for (uint64_t at = 0; at < size_bytes(); at += kStrideBytes) {
    io::Task<uint64_t> looking = next_data(at);
    at = co_await std::move(looking);
    io::Task<Result<void>> fetching = fetch_range(at, kStrideBytes);
    CO_TRY(co_await std::move(fetching));
  }
  co_return Result<void>();
}

// Of whatever version: the object is longer now.
void CachedFile::note_stored(const Fetch& fetch) {
  MutexLock lock(mutex_);
  if (!renewal_.object_bytes || object_ != fetch.object) return;
  renewal_.object_bytes = std::max(*renewal_.object_bytes, fetch.offset + fetch.length);
  if (*renewal_.object_bytes >= size_bytes_) renewal_.object_bytes.reset();
}

}  // namespace larder::cache
