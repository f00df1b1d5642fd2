// A walk over the log as it is in the files: every frame and record from an address on, and the
// stretches between them that are neither.  What a stretch means - the torn tail of a crash, or
// damage - is told by the watermarks (journal/recovery.h); the walk only finds them.
#pragma once

#include <cstdint>
#include <optional>

#include "format/frame.h"
#include "journal/segments.h"

namespace larder::journal {

// Bytes [from, to) of the log in which no frame verifies.
struct LogGap {
  uint64_t from = 0;
  uint64_t to = 0;
  bool is_last = false;          // nothing follows: the log ends at `from`
  std::optional<Error> error{};  // of a segment that is missing or does not verify as a whole
};

// Each function may end the walk by returning false.
class LogVisitor {
 public:
  virtual ~LogVisitor() = default;
  virtual bool on_frame(uint64_t address, const format::FrameHeader& header) = 0;
  // `verifies`: the record's own checksum, with which it is read later.
  virtual bool on_record(const format::RecordView& record, bool verifies) = 0;
  // Unwritten space at the end of the log is none.
  virtual bool on_gap(const LogGap& gap) = 0;
};

// Where the intact log that the walk has seen ends.
Result<uint64_t> walk_log(Segments& segments, uint64_t from, LogVisitor& visitor);

}  // namespace larder::journal
