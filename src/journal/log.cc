#include "journal/log.h"

#include <cstring>
#include <utility>
#include <vector>

#include "base/check.h"

namespace larder::journal {

Log::~Log() {
  delete window_.load();
}

void Log::start(std::shared_ptr<MappedSegment> active, const Watermarks& watermarks,
                const LiveCounts& live, uint64_t verified_from) {
  const MutexLock lock(mutex);
  CHECK(watermarks.begin <= watermarks.durable && watermarks.durable <= watermarks.tail);
  tail_.store(watermarks.tail, std::memory_order_release);
  durable_.store(watermarks.durable, std::memory_order_release);
  begin_.store(watermarks.begin, std::memory_order_release);
  set_live(live);
  hot_from_ = verified_from;
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
  return active().bytes().data() + (tail() - active().begin);
}

void Log::write_header(format::FrameHeader header) {
  header.durable = durable();
  header.begin = begin();
  const LiveCounts counts = live();
  header.live_bytes = counts.bytes;
  header.live_keys = counts.keys;
  format::write_frame_header(at_tail(), tail(), segments_.files().seed, header);
}

void Log::append_frame(uint32_t payload_bytes, uint16_t record_count, const LiveCounts& live) {
  set_live(live);
  const format::FrameHeader header{.payload_bytes = payload_bytes,
                                   .record_count = record_count,
                                   .type = format::FrameType::kBatch};
  write_header(header);
  tail_.store(tail() + header.size_bytes(), std::memory_order_release);
  if (!wake_ || tail() < wake_at_) return;
  wake_at_ = tail() + segments_.files().segment_bytes / 4;
  wake_();
}

void Log::set_wake(std::function<void()> wake) {
  const MutexLock lock(mutex);
  wake_ = std::move(wake);
}

Result<void> Log::advance_begin(uint64_t begin) {
  const MutexLock lock(mutex);
  TRY(ensure_room(sizeof(format::FrameHeader)));
  CHECK(begin >= this->begin() && begin <= durable() &&
        begin % segments_.files().segment_bytes == format::kHeaderPageBytes);
  begin_.store(begin, std::memory_order_release);
  append_frame(0, 0, live());
  return {};
}

void Log::set_live(const LiveCounts& live) {
  live_bytes_.store(live.bytes, std::memory_order_relaxed);
  live_keys_.store(live.keys, std::memory_order_relaxed);
}

LiveCounts Log::live() const {
  return {.bytes = live_bytes_.load(std::memory_order_relaxed),
          .keys = live_keys_.load(std::memory_order_relaxed)};
}

Watermarks Log::watermarks() const {
  // Each only grows: what is read first is not above what is read after it.
  Watermarks watermarks;
  watermarks.begin = begin();
  watermarks.durable = durable();
  watermarks.tail = tail();
  return watermarks;
}

uint64_t Log::frame_bytes_max() const {
  return segments_.files().segment_bytes - format::kHeaderPageBytes - format::kAlignment;
}

bool Log::fits(uint64_t bytes) const {
  return tail() + bytes < active().end();
}

bool Log::has_much_unsynced() const {
  const MutexLock lock(mutex);
  return unsynced_.size() > kUnsyncedSegmentsMax;
}

std::span<const std::byte> Log::hot(uint64_t address) const {
  if (address < hot_from_) return {};
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
    if (is_making_next_) {
      made_next_.wait(mutex);
      continue;
    }
    if (!next_) {
      TRY(make_next());
      continue;
    }
    end_segment();
    tail_.store(segments_.first_frame(next_->number), std::memory_order_release);
    has_next_.store(false, std::memory_order_relaxed);
    enter(std::exchange(next_, nullptr));
  }
}

Result<void> Log::make_next() {
  is_making_next_ = true;
  const uint64_t number = active().number + 1;
  mutex.unlock();
  auto created = segments_.create(number);
  mutex.lock();
  is_making_next_ = false;
  made_next_.notify_all();
  if (created) {
    next_ = std::move(*created);
    has_next_.store(true, std::memory_order_relaxed);
    return {};
  }
  const Error& error = created.error();
  // Nothing of the log was touched when there is no room for a new file.
  if (!error.is(Code::kNoSpace) && !error.is(Code::kNoDescriptors)) poison_.set(error);
  return fail(error);
}

bool Log::wants_next_locked() const {
  return !next_ && !is_making_next_ && tried_ahead_ != active().number + 1 &&
         tail() - active().begin > segments_.files().segment_bytes / 2;
}

bool Log::wants_next() const {
  const MutexLock lock(mutex);
  return wants_next_locked();
}

Result<void> Log::prepare_next() {
  const MutexLock lock(mutex);
  if (!wants_next_locked()) return {};
  tried_ahead_ = active().number + 1;
  return make_next();
}

void Log::end_segment() {
  // With less room a reader expects none.
  if (active().end() - tail() < sizeof(format::FrameHeader)) return;
  write_header({.type = format::FrameType::kSegmentEnd});
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
