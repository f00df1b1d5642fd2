// CachedFile after changes of which it is not known what they did: what they
// dropped comes back for the kernel's readers.

#include "base/log.h"
#include "cache/cached_file.h"

namespace larder::cache {

io::Task<void> CachedFile::end_failed_change(std::shared_ptr<source::SourceFile> file,
                                             uint64_t offset, uint64_t length) {
  // Or the next look at the attributes would take the size for a change made
  // elsewhere.
  source::Outcome<Attributes> asking = file->attributes();
  const Result<Attributes> now = co_await std::move(asking);
  end_change(offset, length, now ? std::optional(now->size_bytes) : std::nullopt);
  io::Task<void> refilling = refill_exposed(offset, length);
  co_await std::move(refilling);
}

io::Task<void> CachedFile::refill_exposed(uint64_t offset, uint64_t length) {
  // Once more when the file was opened for it and seen to be another version:
  // then its data were dropped as a whole, and there may be no reader any more.
  constexpr int kTriesMax = 2;
  for (int left = kTriesMax; is_exposed(); --left) {
    io::Task<Result<void>> fetching = fetch_range(offset, length);
    const Result<void> fetched = co_await std::move(fetching);
    if (fetched) co_return;
    if (fetched.error().is(Code::kStale) && left > 1) continue;
    warn("a changed file cannot be fetched again for its readers", fetched.error());
    co_return;
  }
}

}  // namespace larder::cache
