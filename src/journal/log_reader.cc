#include "journal/log_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

namespace larder::journal {

std::span<const std::byte> LogReader::buffered() const {
  if (position_ < buffer_begin_ || position_ - buffer_begin_ > buffer_.size()) return {};
  return std::span(buffer_).subspan(position_ - buffer_begin_);
}

// Reads so many bytes from the position on, or what there is of them: not beyond the end, where
// someone may be writing.
Result<void> LogReader::fill(size_t bytes) {
  buffer_begin_ = position_;
  buffer_.resize(std::min<uint64_t>(bytes, end_ - position_));
  TRY_ASSIGN(const size_t size, segments_.read(position_, buffer_));
  buffer_.resize(size);
  return {};
}

// nullopt: so little is left of the segment that the log goes on in the next one.
Result<std::optional<format::FrameHeader>> LogReader::frame_at_position() {
  const uint64_t seed = segments_.files().seed;
  if (auto header = format::parse_frame(buffered(), position_, seed)) return header;
  TRY(fill(kStretchBytes));
  auto header = format::parse_frame(buffered(), position_, seed);
  if (!header && buffered().size() == kStretchBytes) {
    // A frame may be larger than a stretch.
    TRY(fill(segments_.files().segment_bytes));
    header = format::parse_frame(buffered(), position_, seed);
  }
  const uint64_t left = segments_.end_of(segments_.number_of(position_)) - position_;
  if (!header && left >= sizeof(format::FrameHeader))
    return fail(Code::kCorrupt,
                fmt::format("{}: the frame does not verify", segments_.place_of(position_)));
  return header;
}

Result<std::optional<LogFrame>> LogReader::next() {
  while (position_ < end_) {
    TRY_ASSIGN(const auto header, frame_at_position());
    if (!header || header->type == format::FrameType::kSegmentEnd) {
      position_ = segments_.first_frame(segments_.number_of(position_) + 1);
      continue;
    }
    const LogFrame frame{
        .address = position_,
        .header = *header,
        .payload = buffered().subspan(header->header_bytes(), header->payload_bytes)};
    position_ += header->size_bytes();
    return frame;
  }
  return std::nullopt;
}

}  // namespace larder::journal
