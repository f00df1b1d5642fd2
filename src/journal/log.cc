#include "journal/log.h"

#include <cstring>
#include <vector>

#include "base/check.h"
#include "format/frame.h"

namespace larder::journal {

Log::~Log() {
  delete window_.load();
}

void Log::start(std::shared_ptr<MappedSegment> active, uint64_t tail, uint64_t durable) {
  const MutexLock lock(mutex);
  tail_.store(tail, std::memory_order_release);
  durable_.store(durable, std::memory_order_release);
  enter(std::move(active));
}

void Log::enter(std::shared_ptr<MappedSegment> next) {
  const Window* old = window_.load(std::memory_order_relaxed);
  auto window = std::make_unique<Window>();
  window->active = std::move(next);
  if (old != nullptr) window->before = old->active;
  unsynced_.push_back({.end = window->active->end(), .file = window->active->file});
  window_.store(window.release(), std::memory_order_release);
  if (old == nullptr) return;
  // Who still looks through the old window is in a shard.
  index_.wait_for_readers();
  delete old;
}

std::byte* Log::at_tail() {
  const MappedSegment& active = *window_.load(std::memory_order_relaxed)->active;
  return active.bytes().data() + (tail() - active.begin);
}

void Log::advance(uint64_t bytes) {
  tail_.store(tail() + bytes, std::memory_order_release);
}

uint64_t Log::frame_bytes_max() const {
  return segments_.files().segment_bytes - format::kHeaderPageBytes - format::kAlignment;
}

bool Log::fits(uint64_t bytes) const {
  return tail() + bytes < window_.load(std::memory_order_relaxed)->active->end();
}

bool Log::has_much_unsynced() const {
  const MutexLock lock(mutex);
  return unsynced_.size() > kUnsyncedSegmentsMax;
}

std::span<const std::byte> Log::hot(uint64_t address) const {
  const Window* window = window_.load(std::memory_order_acquire);
  for (const MappedSegment* segment : {window->active.get(), window->before.get()}) {
    if (segment == nullptr || address < segment->begin || address >= segment->end()) continue;
    return segment->bytes().subspan(address - segment->begin);
  }
  return {};
}

Result<void> Log::ensure_room(uint64_t bytes) {
  CHECK(bytes <= frame_bytes_max());
  while (true) {
    TRY(poison_.check());
    if (fits(bytes)) return {};
    if (is_rolling_) {
      rolled_.wait(mutex);
      continue;
    }
    is_rolling_ = true;
    const uint64_t next = window_.load(std::memory_order_relaxed)->active->number + 1;
    mutex.unlock();
    auto created = segments_.create(next);
    mutex.lock();
    is_rolling_ = false;
    rolled_.notify_all();
    if (!created) {
      const Error& error = created.error();
      // Nothing of the log was touched when there is no room for a new file.
      if (!error.is(Code::kNoSpace) && !error.is(Code::kNoDescriptors)) poison_.set(error);
      return fail(error);
    }
    end_segment();
    tail_.store(segments_.first_frame(next), std::memory_order_release);
    enter(std::move(*created));
  }
}

void Log::end_segment() {
  // With less room a reader expects none.
  const uint64_t end = window_.load(std::memory_order_relaxed)->active->end();
  if (end - tail() < sizeof(format::FrameHeader)) return;
  format::write_frame_header(at_tail(), tail(), segments_.files().seed,
                             {.durable = durable(), .type = format::FrameType::kSegmentEnd});
}

Result<void> Log::sync() {
  std::vector<std::shared_ptr<io::File>> files;
  uint64_t target = 0;
  {
    const MutexLock lock(mutex);
    target = tail();
    for (const Unsynced& unsynced : unsynced_) files.push_back(unsynced.file);
  }
  TRY(poison_.check());
  for (const auto& file : files) {
    if (auto synced = file->sync_data(); !synced) {
      poison_.set(synced.error());
      return synced;
    }
  }
  const MutexLock lock(mutex);
  durable_.store(target, std::memory_order_release);
  // The active segment stays: it will be written again.
  while (unsynced_.size() > 1 && unsynced_.front().end <= target) unsynced_.pop_front();
  return {};
}

}  // namespace larder::journal
