// CachedFile's part in not believing its source: what a descriptor gave that said the file ends
// before its size is dropped (cache/early_end.h), and files whose sizes are made up are read past
// the cache.

#include <algorithm>

#include "cache/buffers_in_time.h"
#include "cache/cached_file.h"

namespace larder::cache {

bool CachedFile::size_is_made_up() const {
  MutexLock lock(mutex_);
  return size_is_made_up_;
}

bool CachedFile::take_doubt() {
  MutexLock lock(mutex_);
  return std::exchange(doubted_, false);
}

// For those who have the file open.
void CachedFile::keep_doubtful(const std::shared_ptr<source::SourceFile>& reader) {
  if (!incarnation_ || (!reader && !keeps_doubtful_)) return;
  incarnation_->keep(reader);
  keeps_doubtful_ = reader != nullptr;
}

// What is read through it from now on is not kept.
void CachedFile::distrust(const std::shared_ptr<source::SourceFile>& reader, Dropped& dropped) {
  if (reader_ != reader) return;  // it was given up by another fetch
  if (!held_) dropped.reader = std::exchange(reader_, nullptr);
  keep_doubtful(dropped.reader);
  list_if_open();
  for (auto& [block, fetch] : fetches_) fetch->detached = true;
  const uint64_t present_before = blocks_.present_blocks();
  for (const auto& [first, last] : through_reader_.ranges()) count_left(clear_blocks(first, last));
  through_reader_.clear();
  if (blocks_.present_blocks() == present_before) return;
  // What a round of claims has under way, or the record says, is not to be believed either.
  changed_at_ = env_.changes.tick();
  unsettled_ = true;
  doubted_ = true;
}

Error CachedFile::ended_early(const Fetch& fetch, const std::shared_ptr<source::SourceFile>& reader,
                              uint64_t end_bytes) {
  Dropped dropped;
  EarlyEnd::Verdict verdict = EarlyEnd::Verdict::kAskAgain;
  {
    MutexLock lock(mutex_);
    // Beside a change made here, or when another fetch has found it already.
    if (fetch.detached || object_ != fetch.object || changes_in_progress_ > 0)
      return Error(Code::kStale, "shorter than its size");
    distrust(reader, dropped);
    verdict = early_end_.note(reader, version_, end_bytes);
    if (verdict == EarlyEnd::Verdict::kMadeUp) {
      std::shared_ptr<source::SourceFile> given_up = std::move(dropped.reader);
      dropped = drop_locked();
      dropped.reader = std::move(given_up);
      size_is_made_up_ = true;
    }
  }
  if (dropped.object)
    finish_drop(std::move(dropped));
  else if (const auto stored = owner_.persist({}); !stored)
    env_.metrics.store_errors.add();
  if (verdict == EarlyEnd::Verdict::kFailure)
    return Error(Code::kIo, "the source's file ends before its size");
  return Error(Code::kStale, "shorter than its size");
}

io::Task<Result<void>> CachedFile::read_past_cache(uint64_t offset, size_t length,
                                                   std::vector<Slice>* out) {
  io::Task<Result<std::shared_ptr<source::SourceFile>>> opening = reader();
  CO_TRY_ASSIGN(const std::shared_ptr<source::SourceFile> file, co_await std::move(opening));
  while (length > 0) {
    const size_t wanted = std::min(length, buffer::Pool::kSizeMax);
    io::Task<buffer::BufferRef> allocating = allocate_in_time(&env_.pool, wanted);
    const buffer::BufferRef buffer = co_await std::move(allocating);
    if (!buffer) co_return fail(Code::kLimit, "buffers");
    source::Outcome<size_t> reading = file->read(buffer, wanted, offset);
    CO_TRY_ASSIGN(const size_t got, co_await std::move(reading));
    if (got > 0) out->push_back({buffer, 0, -1, 0, got});
    env_.metrics.bytes_source.add(got);
    offset += got;
    length -= got;
    if (got == wanted) continue;
    if (!EarlyEnd::may_be_failure(*file, offset) || offset == 0) break;
    Dropped dropped;
    {
      MutexLock lock(mutex_);
      distrust(file, dropped);
    }
    co_return fail(Code::kIo, "the source's file ends before its size");
  }
  co_return Result<void>();
}

}  // namespace larder::cache
