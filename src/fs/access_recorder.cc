#include "fs/access_recorder.h"

#include <algorithm>

#include "base/check.h"

namespace larder::fs {

AccessRecorder::AccessRecorder(const Clock& clock, Registry& registry)
    : clock_(clock),
      accesses_(registry.counter("larder_record_accesses_total", "Accesses recorded.")),
      dropped_total_(registry.counter("larder_record_dropped_total",
                                      "Accesses not recorded, as the reader fell behind.")),
      queued_(registry.gauge("larder_record_queued", "Recorded accesses nobody fetched yet.")) {
  registry.gauge_callback("larder_record_active", "Whether accesses are being recorded.",
                          [this] { return active(); });
}

void AccessRecorder::note_open(NodeId node, uint64_t size_bytes) {
  MutexLock lock(mutex_);
  if (accepts(What::kOpens)) push({node, Access::kWholeFile, size_bytes, time_s()});
}

void AccessRecorder::note_read(const Read& read) {
  if (read.offset >= read.file_size_bytes || read.length == 0) return;
  const uint64_t end = read.offset + std::min(read.length, read.file_size_bytes - read.offset);
  MutexLock lock(mutex_);
  if (!accepts(What::kBlocks)) return;
  const int64_t now_s = time_s();
  for (uint64_t at = read.offset & ~(read.block_bytes - 1); at < end; at += read.block_bytes)
    push({read.node, at / read.block_bytes, std::min(read.block_bytes, read.file_size_bytes - at),
          now_s});
}

Result<uint64_t> AccessRecorder::begin(What what) {
  CHECK(what != What::kNothing);
  MutexLock lock(mutex_);
  if (recording_ != 0 && !is_over()) return fail(Code::kBusy, "the mount is being recorded");
  clear();
  const Nanos now = clock_.monotonic();
  // By the time, so that the reader of an earlier mount's recording cannot take this for his.
  recording_ = std::max<uint64_t>(1, static_cast<uint64_t>(clock_.wall().count()));
  fetched_at_ = now;
  wall_offset_ = clock_.wall() - now;
  ring_.resize(kCapacity);
  wanted_.store(what, std::memory_order_relaxed);
  return recording_;
}

Result<AccessRecorder::Batch> AccessRecorder::fetch(uint64_t recording, size_t accesses_max) {
  MutexLock lock(mutex_);
  if (!is_of(recording)) return fail(Code::kNotFound, "recording");
  fetched_at_ = clock_.monotonic();
  Batch batch;
  batch.dropped = dropped_;
  const size_t taken = std::min(accesses_max, count_);
  batch.accesses.reserve(taken);
  for (size_t i = 0; i < taken; ++i) batch.accesses.push_back(ring_[(first_ + i) % kCapacity]);
  first_ = (first_ + taken) % kCapacity;
  count_ -= taken;
  queued_.set(static_cast<int64_t>(count_));
  if (count_ > 0) {
    batch.state = State::kMore;
  } else if (wants(What::kNothing)) {
    batch.state = State::kEnd;
    clear();
  }
  return batch;
}

Result<void> AccessRecorder::end(uint64_t recording) {
  MutexLock lock(mutex_);
  if (!is_of(recording)) return fail(Code::kNotFound, "recording");
  wanted_.store(What::kNothing, std::memory_order_relaxed);
  return {};
}

Result<void> AccessRecorder::cancel(uint64_t recording) {
  MutexLock lock(mutex_);
  if (!is_of(recording)) return fail(Code::kNotFound, "recording");
  clear();
  return {};
}

bool AccessRecorder::is_of(uint64_t recording) {
  if (recording_ != 0 && is_over()) clear();
  return recording_ != 0 && recording_ == recording;
}

bool AccessRecorder::is_over() const {
  return clock_.monotonic() - fetched_at_ >= kLease;
}

void AccessRecorder::clear() {
  wanted_.store(What::kNothing, std::memory_order_relaxed);
  recording_ = 0;
  dropped_ = 0;
  first_ = count_ = 0;
  ring_ = {};
  queued_.set(0);
}

bool AccessRecorder::accepts(What what) {
  if (recording_ != 0 && is_over()) clear();
  return wants(what);
}

void AccessRecorder::push(const Access& access) {
  if (count_ == kCapacity) {
    ++dropped_;
    dropped_total_.add();
    return;
  }
  ring_[(first_ + count_) % kCapacity] = access;
  ++count_;
  accesses_.add();
  queued_.set(static_cast<int64_t>(count_));
}

int64_t AccessRecorder::time_s() const {
  return std::chrono::floor<std::chrono::seconds>(clock_.monotonic() + wall_offset_).count();
}

int64_t AccessRecorder::active() {
  MutexLock lock(mutex_);
  if (recording_ != 0 && is_over()) clear();
  return recording_ != 0 ? 1 : 0;
}

}  // namespace larder::fs
