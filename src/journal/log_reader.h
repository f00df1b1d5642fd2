// LogReader: the log in order, frame by frame, from an address on.  For what looks at records that
// were written some time ago and must not disturb who appends: increments and compaction.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "format/frame.h"
#include "journal/segments.h"

namespace larder::journal {

struct LogFrame {
  uint64_t address = 0;
  format::FrameHeader header;
  std::span<const std::byte> payload;  // valid until the next call of the reader
};

// Not thread-safe.
class LogReader {
 public:
  // From the frame at `from` up to `to`, which is not above the tail.  The segments in between
  // stay.
  LogReader(Segments& segments, uint64_t from, uint64_t to)
      : segments_(segments), position_(from), end_(to) {}

  // The next batch; nullopt at the end.  kCorrupt, with the place: a frame does not verify.
  Result<std::optional<LogFrame>> next();
  // Where the next frame begins, as far as is known.
  uint64_t position() const { return position_; }

 private:
  static constexpr size_t kStretchBytes = 256 << 10;

  Result<std::optional<format::FrameHeader>> frame_at_position();
  Result<void> fill(size_t bytes);
  std::span<const std::byte> buffered() const;

  Segments& segments_;
  uint64_t position_;
  const uint64_t end_;
  uint64_t buffer_begin_ = 0;  // address
  std::vector<std::byte> buffer_;
};

}  // namespace larder::journal
