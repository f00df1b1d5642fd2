#include "journal/log_walk.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "journal/files.h"

namespace larder::journal {
namespace {

using format::FrameHeader;
using format::FrameType;

class LogWalk {
 public:
  LogWalk(Segments& segments, uint64_t from, LogVisitor& visitor)
      : segments_(segments), visitor_(visitor), at_(from), tail_(from) {}

  Result<uint64_t> run() {
    TRY_ASSIGN(const std::vector<uint64_t> numbers, segments_.files().list(kSegmentPrefix));
    if (numbers.empty()) return tail_;
    // What was before has been compacted away.
    at_ = tail_ = std::max(at_, segments_.first_frame(numbers.front()));
    for (uint64_t number = segments_.number_of(at_); number <= numbers.back() && !is_over_;
         ++number) {
      at_ = std::max(at_, segments_.first_frame(number));
      look_at_segment(number);
      // A gap of many missing segments is one gap.
      at_ = segments_.first_frame(number + 1);
      const auto next = std::ranges::upper_bound(numbers, number);
      if (gap_ && next != numbers.end()) number = std::max(number, *next - 1);
    }
    end_last_gap();
    return tail_;
  }

 private:
  std::span<const std::byte> rest_of(uint64_t number) const {
    return std::span<const std::byte>(bytes_).subspan(at_ -
                                                      number * segments_.files().segment_bytes);
  }

  void look_at_segment(uint64_t number) {
    const auto size = segments_.read_what_is_there(number, bytes_);
    if (!size) return open_gap(size.error());
    walk_segment(number);
    // It was made with its full size: what it had is gone.
    if (*size < bytes_.size() && !is_over_)
      open_gap(Error(Code::kCorrupt, fmt::format("has {} of {} bytes", *size, bytes_.size())));
  }

  void walk_segment(uint64_t number) {
    while (!is_over_) {
      const auto rest = rest_of(number);
      const auto header = format::parse_frame(rest, at_, segments_.files().seed);
      if (!header && rest.size() < sizeof(FrameHeader)) return;
      if (!header) {
        open_gap({});
        if (!find_frame(number)) return;
        continue;
      }
      close_gap();
      if (is_over_ || !go_on(visitor_.on_frame(at_, *header))) return;
      if (header->type == FrameType::kBatch)
        walk_batch(*header, rest.subspan(header->header_bytes(), header->payload_bytes));
      at_ += header->size_bytes();
      tail_ = at_;
      if (header->type == FrameType::kSegmentEnd) return;
    }
  }

  // A record that exceeds the frame is left to recovery, which reports it.
  void walk_batch(const FrameHeader& header, std::span<const std::byte> payload) {
    const uint64_t begin = at_ + header.header_bytes();
    format::for_each_record(header, payload, at_, [&](const format::RecordView& record) {
      const auto bytes = payload.subspan(record.address - begin);
      const bool verifies = format::verify_record(bytes, record, segments_.files().seed);
      if (!is_over_) go_on(visitor_.on_record(record, verifies));
    });
  }

  // Moves on to the next frame that verifies in the segment in bytes_; false when there is none.
  bool find_frame(uint64_t number) {
    const uint64_t begin = at_;
    const auto rest = rest_of(number);
    for (uint64_t skip = 0; skip + format::kFrameHeaderBytesMin <= rest.size();
         skip += format::kAlignment) {
      uint64_t word = 0;
      std::memcpy(&word, &rest[skip], sizeof word);
      if (word == 0) continue;
      gap_->to = begin + skip + format::kAlignment;  // something was written here
      if (!format::parse_frame(rest.subspan(skip), begin + skip, segments_.files().seed)) continue;
      at_ = begin + skip;
      return true;
    }
    return false;
  }

  void open_gap(std::optional<Error> error) {
    if (!gap_) gap_ = LogGap{.from = at_, .to = at_};
    if (!error) return;
    gap_->error = std::move(error);
    gap_->to = at_;
  }
  void close_gap() {
    if (!gap_) return;
    gap_->to = at_;
    go_on(visitor_.on_gap(*gap_));
    gap_.reset();
  }
  void end_last_gap() {
    if (!gap_ || is_over_) return;
    gap_->is_last = true;
    // Nothing was ever written there: that is where the log ends.
    if (gap_->to != gap_->from || gap_->error) go_on(visitor_.on_gap(*gap_));
  }
  bool go_on(bool wanted) {
    is_over_ = is_over_ || !wanted;
    return !is_over_;
  }

  Segments& segments_;
  LogVisitor& visitor_;
  uint64_t at_;
  uint64_t tail_;
  bool is_over_ = false;
  std::optional<LogGap> gap_;
  std::vector<std::byte> bytes_;  // the segment being looked at
};

}  // namespace

Result<uint64_t> walk_log(Segments& segments, uint64_t from, LogVisitor& visitor) {
  return LogWalk(segments, from, visitor).run();
}

}  // namespace larder::journal
