// CachedFile's reading side: hits, single-flight fetches, and storing what was fetched behind the
// readers.

#include <sys/uio.h>

#include <algorithm>

#include "base/check.h"
#include "base/limited_log.h"
#include "cache/buffers_in_time.h"
#include "cache/cached_file.h"
#include "cache/claims.h"

namespace larder::cache {

// A stretch of a read that comes from one place.
struct CachedFile::Piece {
  enum class From { kMemory, kObject, kFetch };
  From from;
  uint64_t offset = 0;
  size_t length = 0;
  buffer::BufferRef buffer;  // kMemory
  size_t buffer_offset = 0;
  std::shared_ptr<Fetch> fetch;  // kFetch
};

namespace {

// How often a read starts over because the object was dropped under it before it gives up.
constexpr int kReadAttemptsMax = 16;

// At the limit on descriptors reading waits for one: as often as this, for about a second in all.
constexpr int kDescriptorTriesMax = 10;
constexpr Nanos kDescriptorPauseMin = std::chrono::milliseconds(1);

// Also of the file system that the cache is on: larger files it does not take (ext4: 16 TiB).
bool is_a_bound(const Error& error) {
  return error.is(Code::kNoSpace) || error.is(Code::kNoDescriptors) ||
         error.is(static_cast<Code>(EFBIG));
}

}  // namespace

bool CachedFile::read_hit(uint64_t offset, size_t length, std::vector<Slice>& out, bool* resident) {
  const size_t first_slice = out.size();
  std::shared_ptr<io::File> file;
  uint64_t changed_at = 0;
  bool from_disk = false;
  {
    MutexLock lock(mutex_);
    *resident = resident_locked();
    if (offset >= size_bytes_) return true;
    length = static_cast<size_t>(std::min<uint64_t>(length, size_bytes_ - offset));
    const uint64_t end = offset + length;
    for (uint64_t at = offset; at < end;) {
      const uint64_t block = at >> block_shift_;
      const uint64_t block_offset = at & (block_bytes() - 1);
      const auto piece = static_cast<size_t>(std::min(end - at, block_bytes() - block_offset));
      if (object_) {
        if (buffer::BufferRef cached = env_.memory.get({object_, block});
            cached && cached.size() >= block_offset + piece) {
          out.push_back({std::move(cached), block_offset, -1, 0, piece});
          at += piece;
          continue;
        }
      }
      if (!blocks_.has(block) || !object_file_ || object_file_->fd() < 0) {
        out.resize(first_slice);
        return false;
      }
      // Neighbouring blocks of the object are read together.
      if (out.size() > first_slice && !out.back().buffer &&
          out.back().length + piece <= buffer::Pool::kSizeMax)
        out.back().length += piece;
      else
        out.push_back({{}, 0, object_file_->fd(), at, piece});
      from_disk = true;
      at += piece;
    }
    file = object_file_;
    changed_at = changed_at_;
  }
  for (size_t i = first_slice; i < out.size(); ++i) {
    Slice& slice = out[i];
    if (slice.buffer) continue;
    buffer::BufferRef buffer = env_.pool.allocate(slice.length);
    iovec into{buffer ? buffer.bytes().data() : nullptr, slice.length};
    // Only what the page cache has: a FUSE worker does not wait for the disk.
    if (!buffer || preadv2(slice.file_fd, &into, 1, static_cast<off_t>(slice.file_offset),
                           RWF_NOWAIT) != static_cast<ssize_t>(slice.length)) {
      out.resize(first_slice);
      return false;
    }
    buffer.set_size(slice.length);
    slice = {std::move(buffer), 0, -1, 0, slice.length};
  }
  if (from_disk) {
    MutexLock lock(mutex_);
    if (object_file_ != file || changed_at_ != changed_at) {  // changed while being read
      out.resize(first_slice);
      return false;
    }
    env_.metrics.hits_disk.add();
    env_.metrics.bytes_disk.add(length);
  } else {
    env_.metrics.hits_memory.add();
    env_.metrics.bytes_memory.add(length);
  }
  return true;
}

std::shared_ptr<CachedFile::Fetch> CachedFile::start_fetch(uint64_t first_block,
                                                           uint64_t last_block) {
  auto fetch = std::make_shared<Fetch>();
  fetch->first_block = first_block;
  fetch->blocks = last_block - first_block + 1;
  fetch->offset = first_block << block_shift_;
  fetch->length =
      static_cast<size_t>((last_block << block_shift_) + block_length(last_block) - fetch->offset);
  fetch->object = object_;
  // What is read from the source while a change is on its way there may be old or new: good for
  // those who asked now, and for nobody after.
  fetch->detached = changes_in_progress_ > 0 || punching_;
  if (!fetch->detached)
    for (uint64_t block = first_block; block <= last_block; ++block) fetches_[block] = fetch;
  return fetch;
}

bool CachedFile::changed_since(ObjectId object, uint64_t changed_at) const {
  MutexLock lock(mutex_);
  return object_ != object || changed_at_ != changed_at || changes_in_progress_ > 0;
}

bool CachedFile::punched_since(uint64_t punches) const {
  MutexLock lock(mutex_);
  return punches_ != punches;
}

std::vector<CachedFile::Piece> CachedFile::plan(uint64_t offset, size_t length,
                                                std::vector<std::shared_ptr<Fetch>>* started) {
  std::vector<Piece> pieces;
  const uint64_t end = std::min(offset + length, size_bytes_);
  const uint64_t run_max = std::max<uint64_t>(1, env_.options.fetch_bytes_max >> block_shift_);
  for (uint64_t at = offset; at < end;) {
    const uint64_t block = at >> block_shift_;
    const uint64_t block_offset = at & (block_bytes() - 1);
    const auto piece_length = static_cast<size_t>(std::min(end - at, block_bytes() - block_offset));
    Piece piece{Piece::From::kObject, at, piece_length, {}, 0, nullptr};
    if (buffer::BufferRef cached = env_.memory.get({object_, block});
        cached && cached.size() >= block_offset + piece_length) {
      piece.from = Piece::From::kMemory;
      piece.buffer = std::move(cached);
      piece.buffer_offset = block_offset;
    } else if (!blocks_.has(block)) {
      piece.from = Piece::From::kFetch;
      if (const auto it = fetches_.find(block); it != fetches_.end()) {
        piece.fetch = it->second;
        if (pieces.empty() || pieces.back().fetch != piece.fetch) env_.metrics.fetch_joins.add();
      } else {
        uint64_t last = block;
        while (last - block + 1 < run_max && last + 1 <= (end - 1) >> block_shift_ &&
               !blocks_.has(last + 1) && !fetches_.contains(last + 1))
          ++last;
        piece.fetch = start_fetch(block, last);
        started->push_back(piece.fetch);
      }
    }
    const bool joins = !pieces.empty() && pieces.back().from == piece.from &&
                       piece.from != Piece::From::kMemory && pieces.back().fetch == piece.fetch &&
                       pieces.back().length + piece.length <= buffer::Pool::kSizeMax;
    if (joins)
      pieces.back().length += piece.length;
    else
      pieces.push_back(std::move(piece));
    at += piece_length;
  }
  return pieces;
}

void CachedFile::spawn_fetches(const std::vector<std::shared_ptr<Fetch>>& started) {
  io::Reactor* reactor = io::Reactor::current();
  CHECK(reactor != nullptr);
  for (const auto& fetch : started) reactor->spawn(run_fetch(owner_.self(), this, fetch));
}

io::Task<Result<bool>> CachedFile::read(uint64_t offset, size_t length, std::vector<Slice>* out) {
  for (int attempt = 0; attempt < kReadAttemptsMax; ++attempt) {
    CO_TRY(ensure_object_id());
    out->clear();
    std::vector<Piece> pieces;
    std::vector<std::shared_ptr<Fetch>> started;
    ObjectId object;
    uint64_t changed_at = 0;
    uint64_t punches = 0;
    {
      MutexLock lock(mutex_);
      object = object_;
      changed_at = changed_at_;
      punches = punches_;
      if (object) pieces = plan(offset, length, &started);
    }
    if (!object) continue;  // dropped in between
    spawn_fetches(started);
    bool again = false;
    bool missed = false;
    bool from_disk = false;
    for (Piece& piece : pieces) {
      if (piece.from == Piece::From::kMemory) {
        out->push_back({piece.buffer, piece.buffer_offset, -1, 0, piece.length});
        env_.metrics.bytes_memory.add(piece.length);
        continue;
      }
      if (piece.from == Piece::From::kFetch) {
        missed = true;
        co_await piece.fetch->done;
        if (piece.fetch->error) co_return fail(*piece.fetch->error);
        out->push_back({piece.fetch->buffer,
                        static_cast<size_t>(piece.offset - piece.fetch->offset), -1, 0,
                        piece.length});
        env_.metrics.bytes_source.add(piece.length);
        continue;
      }
      from_disk = true;
      ObjectId opened;
      io::Task<Result<std::shared_ptr<io::File>>> opening = object_file_in_time(&opened);
      auto file = co_await std::move(opening);
      if (!file && file.error().is(Code::kNoDescriptors)) co_return fail(file.error());
      if (file && opened == object) {
        io::Task<Result<void>> reading = read_object(*file, piece.offset, piece.length, out);
        const Result<void> done = co_await std::move(reading);
        if (done && !punched_since(punches)) continue;
        again = true;
        if (done) break;                               // it may have read the hole
        if (changed_since(object, changed_at)) break;  // cut short under this reader
        if (done.error().is(Code::kLimit))
          co_return fail(done.error());  // nothing is wrong with it
        // The local disk cannot give what it was given: the source still has it.
        warn("cannot read an object, fetching it again", done.error());
        env_.metrics.store_errors.add();
        drop();
      } else if (!file && !file.error().is(Code::kStale)) {
        warn("cannot open an object, fetching it again", file.error());
        env_.metrics.store_errors.add();
        drop();
      }
      again = true;
      break;
    }
    if (again) continue;
    if (missed)
      env_.metrics.misses.add();
    else if (from_disk)
      env_.metrics.hits_disk.add();
    else
      env_.metrics.hits_memory.add();
    co_return missed;
  }
  co_return fail(Code::kIo, "the cached object keeps changing");
}

io::Task<Result<void>> CachedFile::read_object(std::shared_ptr<io::File> file, uint64_t offset,
                                               size_t length, std::vector<Slice>* out) {
  ObjectId object;
  uint64_t changed_at = 0;
  bool whole_block = false;
  {
    MutexLock lock(mutex_);
    object = object_;
    changed_at = changed_at_;
    whole_block = changes_in_progress_ == 0 && (offset & (block_bytes() - 1)) == 0 &&
                  offset < size_bytes_ && length == block_length(offset >> block_shift_);
  }
  io::Task<buffer::BufferRef> allocating = allocate_in_time(&env_.pool, length);
  buffer::BufferRef buffer = co_await std::move(allocating);
  if (!buffer) co_return fail(Code::kLimit, "buffers");
  io::Task<Result<size_t>> reading =
      io::Reactor::current()->read(*file, buffer.bytes().first(length), offset);
  const Result<size_t> got = co_await std::move(reading);
  if (!got) co_return fail(got.error());
  if (*got != length) co_return fail(Code::kShort, "object");
  buffer.set_size(length);
  env_.metrics.bytes_disk.add(length);
  out->push_back({buffer, 0, -1, 0, length});
  if (whole_block) {
    MutexLock lock(mutex_);
    if (object_ == object && changed_at_ == changed_at && blocks_.has(offset >> block_shift_))
      env_.memory.put({object, offset >> block_shift_}, buffer);
  }
  co_return Result<void>();
}

io::Task<Result<std::shared_ptr<source::SourceFile>>> CachedFile::reader() {
  if (auto file = source_file()) co_return file;
  io::AsyncMutex::Guard opening = co_await opening_.lock();
  if (auto file = source_file()) co_return file;
  Nanos pause = kDescriptorPauseMin;
  for (int left = kDescriptorTriesMax;; pause *= 2) {
    io::Task<Result<std::shared_ptr<source::SourceFile>>> open = owner_.open_source();
    Result<std::shared_ptr<source::SourceFile>> file = co_await std::move(open);
    if (file) offer_source(*file);
    if (file || !file.error().is(Code::kNoDescriptors) || --left == 0) co_return file;
    co_await io::Reactor::current()->sleep(pause);
  }
}

io::Task<Result<std::shared_ptr<io::File>>> CachedFile::object_file_in_time(ObjectId* object) {
  Nanos pause = kDescriptorPauseMin;
  for (int left = kDescriptorTriesMax;; pause *= 2) {
    auto file = existing_object_file(object);
    if (file || !file.error().is(Code::kNoDescriptors) || --left == 0) co_return file;
    co_await io::Reactor::current()->sleep(pause);
  }
}

namespace {

// Others say that the file has changed, or that larder has no room for it or is stopping.
bool is_a_failure_of_the_source(const Error& error) {
  for (const Code code : {Code::kStale, Code::kCancelled, Code::kLimit, Code::kNoDescriptors})
    if (error.is(code)) return false;
  return true;
}

}  // namespace

void CachedFile::warn_of_source(const Error& error) {
  if (is_a_failure_of_the_source(error)) warn("cannot read from the source", error);
}

io::Task<void> CachedFile::run_fetch(std::shared_ptr<FileOwner> keep, CachedFile* file,
                                     std::shared_ptr<Fetch> fetch) {
  (void)keep;
  GaugeHold in_flight(file->env_.metrics.fetches_in_flight);
  file->env_.metrics.fetches.add();
  io::Task<Result<void>> fetching = file->fetch_from_source(fetch);
  const Result<void> fetched = co_await std::move(fetching);
  if (fetched) {
    {
      MutexLock lock(file->mutex_);
      if (!fetch->detached) file->keep_in_memory(*fetch);
    }
    fetch->done.set();
    io::Task<void> storing = file->store(fetch);
    co_await std::move(storing);
    file->finish(fetch);
  } else {
    file->warn_of_source(fetched.error());
    fetch->error = fetched.error();
    file->finish(fetch);  // first: whoever comes after the error starts a new fetch
    fetch->done.set();
  }
  fetch->stored.set();
}

io::Task<Result<void>> CachedFile::fetch_from_source(std::shared_ptr<Fetch> fetch) {
  io::AsyncSemaphore::Permit permit = co_await env_.fetch_bytes.acquire(fetch->length);
  io::Task<Result<std::shared_ptr<source::SourceFile>>> opening = reader();
  const Result<std::shared_ptr<source::SourceFile>> file = co_await std::move(opening);
  if (!file) co_return fail(file.error());
  io::Task<buffer::BufferRef> allocating = allocate_in_time(&env_.pool, fetch->length);
  buffer::BufferRef buffer = co_await std::move(allocating);
  if (!buffer) co_return fail(Code::kLimit, "buffers");
  const Nanos asked_at = env_.clock.monotonic();
  source::Outcome<size_t> reading = (*file)->read(buffer, fetch->length, fetch->offset);
  const Result<size_t> got = co_await std::move(reading);
  if (!got) co_return fail(got.error());
  fetch->took = env_.clock.monotonic() - asked_at;
  if (*got != fetch->length) co_return fail(ended_early(*fetch, *file, fetch->offset + *got));
  {
    MutexLock lock(mutex_);
    if (reader_ == *file)
      through_reader_.add(fetch->first_block, fetch->first_block + fetch->blocks - 1);
    else if (!reader_)
      fetch->detached = true;  // given up meanwhile
  }
  fetch->buffer = std::move(buffer);
  co_return Result<void>();
}

void CachedFile::keep_in_memory(const Fetch& fetch) {
  if (fetch.blocks == 1) {
    env_.memory.put({fetch.object, fetch.first_block}, fetch.buffer);
    return;
  }
  for (uint64_t i = 0; i < fetch.blocks; ++i) {
    const auto from = static_cast<size_t>(i << block_shift_);
    const size_t length = std::min<size_t>(block_bytes(), fetch.length - from);
    buffer::BufferRef block = env_.pool.allocate(length);
    if (!block) return;
    std::memcpy(block.bytes().data(), fetch.buffer.bytes().data() + from, length);
    block.set_size(length);
    env_.memory.put({fetch.object, fetch.first_block + i}, std::move(block));
  }
}

io::Task<void> CachedFile::store(std::shared_ptr<Fetch> fetch) {
  uint64_t bytes = 0;
  bool is_for_kernel = false;  // its readers are to have it, whether there is room or not
  {
    MutexLock lock(mutex_);
    // Bytes behind the object's end would leave a hole before them.
    if (fetch->detached || fetch->offset > object_bytes()) co_return;
    fetch->storing = true;
    is_for_kernel = renewal_.is_wanted;
    for (uint64_t i = 0; i < fetch->blocks; ++i) bytes += disk_bytes(fetch->first_block + i);
  }
  const Hints hints = owner_.hints();
  const bool is_admitted =
      hints.admit && env_.residents.reserve(owner_.id(), bytes, hints, fetch->took);
  if (!is_admitted) {
    env_.metrics.bypassed.add(fetch->length);
    if (!is_for_kernel) co_return;
    bytes = 0;
  }
  bool is_written = false;
  bool has_begun = false;  // something of it may be on the disk
  if (auto file = object_file(fetch->object)) {
    io::Task<Result<void>> writing = io::Reactor::current()->write(
        **file, fetch->buffer.bytes().first(fetch->length), fetch->offset);
    const Result<void> written = co_await std::move(writing);
    is_written = written.has_value();
    has_begun = is_written || !written.error().is(Code::kNoSpace);
    if (!is_written && has_begun) {
      env_.metrics.store_errors.add();
      warn("cannot write an object", written.error());
    }
  } else if (!file && !is_a_bound(file.error()) && !file.error().is(Code::kStale)) {
    env_.metrics.store_errors.add();
    warn("cannot make an object", file.error());
  }
  std::vector<uint32_t> checksums;
  for (uint64_t i = 0; is_written && is_admitted && i < fetch->blocks; ++i) {
    const auto from = static_cast<size_t>(i << block_shift_);
    checksums.push_back(checksum32(fetch->buffer.bytes().subspan(
        from, std::min<size_t>(block_bytes(), fetch->length - from))));
  }
  if (!is_written) env_.metrics.bypassed.add(fetch->length);
  if (is_written) note_stored(*fetch);
  // A claim also counts what was written without room.
  if (end_store(*fetch, has_begun, checksums, bytes) || !is_admitted)
    env_.claims.add(owner_.self());
}

// The blocks become present if they were written, there are checksums, and nothing changed
// meanwhile; what was reserved for them counts if they are on the disk.
bool CachedFile::end_store(const Fetch& fetch, bool has_begun,
                           const std::vector<uint32_t>& checksums, uint64_t bytes) {
  MutexLock lock(mutex_);
  if (!has_begun || object_ != fetch.object) {
    env_.residents.cancel(bytes);
    // It could not be made.
    if (object_ == fetch.object && !object_created_) env_.residents.forget(owner_.id());
    return false;
  }
  env_.residents.charge(owner_.id(), bytes);
  const bool is_stored = !checksums.empty() && !fetch.detached;
  if (!is_stored) count_left(bytes);
  for (uint64_t i = 0; is_stored && i < fetch.blocks; ++i)
    blocks_.set(fetch.first_block + i, checksums[i]);
  return is_stored;
}

void CachedFile::finish(const std::shared_ptr<Fetch>& fetch) {
  bool close = false;
  {
    MutexLock lock(mutex_);
    for (uint64_t i = 0; i < fetch->blocks; ++i) {
      const auto it = fetches_.find(fetch->first_block + i);
      if (it != fetches_.end() && it->second == fetch) fetches_.erase(it);
    }
    close = idle_ && fetches_.empty();
  }
  if (close) idle();
}

void CachedFile::prefetch(uint64_t offset, uint64_t length) {
  if (!ensure_object_id()) return;
  std::vector<std::shared_ptr<Fetch>> started;
  {
    MutexLock lock(mutex_);
    if (!object_ || offset >= size_bytes_ || changes_in_progress_ > 0 || punching_) return;
    if (size_is_made_up_) return;
    const uint64_t run_max = std::max<uint64_t>(1, env_.options.fetch_bytes_max >> block_shift_);
    const uint64_t last = last_block(offset, std::min(length, size_bytes_ - offset));
    for (uint64_t block = offset >> block_shift_; block <= last; ++block) {
      if (blocks_.has(block) || fetches_.contains(block)) continue;
      uint64_t run_last = block;
      while (run_last < last && run_last - block + 1 < run_max && !blocks_.has(run_last + 1) &&
             !fetches_.contains(run_last + 1))
        ++run_last;
      started.push_back(start_fetch(block, run_last));
      block = run_last;
    }
  }
  spawn_fetches(started);
}

io::Task<Result<void>> CachedFile::fetch_range(uint64_t offset, uint64_t length,
                                               std::shared_ptr<FetchWatch> watch) {
  const uint64_t window = std::max<uint64_t>(env_.options.readahead_max_bytes, 1 << 20);
  const uint64_t end = length > UINT64_MAX - offset ? UINT64_MAX : offset + length;
  if (watch) watch->bytes_total = std::min(end, size_bytes());
  for (uint64_t at = offset; at < std::min(end, size_bytes()); at += window / 2) {
    if (watch && watch->is_cancelled) co_return fail(Code::kCancelled);
    prefetch(at, std::min(window, end - at));
    std::vector<std::shared_ptr<Fetch>> waited;
    {
      MutexLock lock(mutex_);
      const uint64_t last = last_block(at, window / 2);
      for (uint64_t block = at >> block_shift_; block <= last; ++block)
        if (const auto it = fetches_.find(block);
            it != fetches_.end() && (waited.empty() || waited.back() != it->second))
          waited.push_back(it->second);
    }
    for (const auto& fetch : waited) {
      co_await fetch->stored;
      if (fetch->error) co_return fail(*fetch->error);
    }
    if (watch) watch->bytes_done = std::min(at + window / 2, size_bytes());
  }
  co_return Result<void>();
}

}  // namespace larder::cache
