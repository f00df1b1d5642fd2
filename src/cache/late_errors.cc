// CachedFile: what is done about writes that the source took and may not keep (cache/unsynced.h).

#include "base/check.h"
#include "cache/cached_file.h"

namespace larder::cache {

void CachedFile::expect_flush() {
  MutexLock lock(mutex_);
  ++unflushed_;
}

void CachedFile::flushed() {
  MutexLock lock(mutex_);
  CHECK(unflushed_ > 0);
  --unflushed_;
}

void CachedFile::note_unsynced(uint64_t begin, uint64_t end) {
  MutexLock lock(mutex_);
  unsynced_.add(begin, end);
}

uint64_t CachedFile::begin_sync() const {
  MutexLock lock(mutex_);
  return unsynced_.writes();
}

void CachedFile::synced(uint64_t begun) {
  MutexLock lock(mutex_);
  unsynced_.synced(begun);
}

io::Task<void> CachedFile::take_back(std::shared_ptr<source::SourceFile> file) {
  std::vector<Unsynced::Range> ranges;
  {
    MutexLock lock(mutex_);
    ranges = unsynced_.take();
  }
  if (ranges.empty()) co_return;
  for (const Unsynced::Range& range : ranges) {
    io::Task<void> beginning = begin_change(range.begin, range.end - range.begin);
    co_await std::move(beginning);
    std::optional<uint64_t> size_bytes;
    source::Outcome<Attributes> asking = file->attributes();
    if (const Result<Attributes> now = co_await std::move(asking)) size_bytes = now->size_bytes;
    end_change(range.begin, range.end - range.begin, size_bytes);
  }
  io::Task<void> refilling = refill_exposed(0, UINT64_MAX);
  co_await std::move(refilling);
}

}  // namespace larder::cache
