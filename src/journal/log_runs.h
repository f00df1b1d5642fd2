// The intact stretches of a damaged log, and what each of them is enough for by itself: for who
// salvages.
#pragma once

#include <cstdint>
#include <vector>

#include "journal/segments.h"

namespace larder::journal {

// Frames without a gap between them, from `from` to `to`.
struct LogRun {
  uint64_t from = 0;
  uint64_t to = 0;
  uint64_t begin = 0;  // no record before it counted when the last frame was written

  // Each key that lived then has its newest record in here.
  bool is_whole() const { return begin >= from; }
};

struct LogRuns {
  std::vector<LogRun> runs;  // ascending; a torn tail and what is behind it are left out
  uint64_t durable = 0;      // the log had been synced up to here
};

// `durable`: what checkpoints say of it.  Changes nothing.
Result<LogRuns> find_log_runs(Segments& segments, uint64_t durable);

}  // namespace larder::journal
