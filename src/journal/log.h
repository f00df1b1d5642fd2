// Log: where frames are appended, in memory that is the file (a shared mapping), so an append is a
// memcpy and outlives the process.
//
// Watermarks, all log addresses: begin <= durable <= tail.  No record before `begin` counts any
// more: each that was its key's newest has a copy behind it.  What is before `tail` are whole
// frames; what is before `durable` has been synced.  Every frame carries `begin` and the live
// counts as they are with it.
//
// Invariants: the active segment is mapped, as is the one before it once there was one since
// start(); batches never fill a segment to its last byte, so the tail's address is always in the
// active one; bytes of the active segment from `tail` on are zeros, on the disk too; segments that
// have bytes between durable and tail are in unsynced_; begin is the first frame of a segment, and
// only grows; next_, if there is one, is the segment behind the active one, and empty.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <span>

#include "base/mutex.h"
#include "format/frame.h"
#include "journal/index.h"
#include "journal/segments.h"
#include "journal/sticky_error.h"

namespace larder::journal {

struct Watermarks {
  uint64_t begin = 0;
  uint64_t durable = 0;
  uint64_t tail = 0;
};

// Of the records that are the newest of a key that lives.
struct LiveCounts {
  uint64_t bytes = 0;  // space in frames
  uint64_t keys = 0;
  bool operator==(const LiveCounts&) const = default;
};

class Log {
 public:
  // `index`: whose readers may be looking at the mapped tail.
  Log(Segments& segments, Index& index, StickyError& poison)
      : segments_(segments), index_(index), poison_(poison) {}
  ~Log();

  // Held by who appends.  Taken before a shard's mutex.
  mutable Mutex mutex;

  // `verified_from`: what of the segment is behind it has been verified.
  void start(std::shared_ptr<MappedSegment> active, const Watermarks& watermarks,
             const LiveCounts& live, uint64_t verified_from) EXCLUDES(mutex);

  // Returns with so many bytes free in the active segment.  May let go of the mutex meanwhile.
  Result<void> ensure_room(uint64_t bytes) REQUIRES(mutex);
  // Whether it is time to make the next segment, so that nobody has to wait for it in
  // ensure_room(). Tried once for each segment.
  bool wants_next() const EXCLUDES(mutex);
  Result<void> prepare_next() EXCLUDES(mutex);
  bool has_next() const { return has_next_.load(std::memory_order_relaxed); }
  std::byte* at_tail() REQUIRES(mutex);
  // Makes the payload that was written at_tail() + sizeof(FrameHeader) a frame; ensure_room() was
  // asked for it.
  void append_frame(uint32_t payload_bytes, uint16_t record_count, const LiveCounts& live)
      REQUIRES(mutex);
  // No record before `begin`, the first frame of a segment before `durable`, counts any more.  Says
  // so in the log.
  Result<void> advance_begin(uint64_t begin) EXCLUDES(mutex);
  // For a log whose frames did not say.
  void set_live(const LiveCounts& live) REQUIRES(mutex);

  // The bytes from `address` to its segment's end if they are mapped and need no verifying, else
  // nothing: read them as from the disk.  Valid as long as the caller holds `mutex` or any shard's
  // mutex, which it must have taken before the call.
  std::span<const std::byte> hot(uint64_t address) const;

  uint64_t begin() const { return begin_.load(std::memory_order_acquire); }
  uint64_t tail() const { return tail_.load(std::memory_order_acquire); }
  uint64_t durable() const { return durable_.load(std::memory_order_acquire); }
  // In an order that keeps begin <= durable <= tail.
  Watermarks watermarks() const;
  // Exact under `mutex`, else of about now.
  LiveCounts live() const;
  // The largest frame.
  uint64_t frame_bytes_max() const;
  // Called, under `mutex`, once in every quarter of a segment that is appended.
  void set_wake(std::function<void()> wake) EXCLUDES(mutex);
  // Whether so much is unsynced that someone should commit.
  bool has_much_unsynced() const EXCLUDES(mutex);

  // Makes what is before the tail durable.  One caller at a time.  An error is sticky.
  Result<void> sync() EXCLUDES(mutex);

 private:
  static constexpr size_t kUnsyncedSegmentsMax = 8;

  // What readers find; replaced as a whole.
  struct Window {
    std::shared_ptr<MappedSegment> active;
    std::shared_ptr<MappedSegment> before;
  };
  struct Unsynced {
    uint64_t end;  // address
    std::shared_ptr<io::File> file;
  };

  const MappedSegment& active() const REQUIRES(mutex) {
    return *window_.load(std::memory_order_relaxed)->active;
  }
  bool wants_next_locked() const REQUIRES(mutex);
  // Lets go of the mutex meanwhile.
  Result<void> make_next() REQUIRES(mutex);
  void enter(std::shared_ptr<MappedSegment> next) REQUIRES(mutex);
  void end_segment() REQUIRES(mutex);
  void write_header(format::FrameHeader header) REQUIRES(mutex);
  bool fits(uint64_t bytes) const REQUIRES(mutex);

  Segments& segments_;
  Index& index_;
  StickyError& poison_;
  uint64_t hot_from_ = 0;  // start()'s
  std::atomic<const Window*> window_{nullptr};
  std::atomic<uint64_t> begin_{0};
  std::atomic<uint64_t> durable_{0};
  std::atomic<uint64_t> tail_{0};
  std::atomic<uint64_t> live_bytes_{0};
  std::atomic<uint64_t> live_keys_{0};
  std::deque<Unsynced> unsynced_ GUARDED_BY(mutex);
  std::shared_ptr<MappedSegment> next_ GUARDED_BY(mutex);
  std::atomic<bool> has_next_{false};  // for who has no lock
  std::function<void()> wake_ GUARDED_BY(mutex);
  uint64_t wake_at_ GUARDED_BY(mutex) = 0;
  bool is_making_next_ GUARDED_BY(mutex) = false;
  uint64_t tried_ahead_ GUARDED_BY(mutex) = 0;  // number of the segment
  CondVar made_next_;
};

}  // namespace larder::journal
