// LogGauges: the log's watermarks and what it holds, for people.  As of the last commit or step of
// maintenance: an append has nothing to do with them.
#pragma once

#include <cstdint>

#include "base/metrics.h"
#include "journal/log.h"
#include "journal/segments.h"

namespace larder::journal {

// Thread-safe.
class LogGauges {
 public:
  explicit LogGauges(Registry& registry);
  void show(const Segments& segments, const Log& log);

 private:
  Gauge& begin_;
  Gauge& durable_;
  Gauge& tail_;
  Gauge& live_bytes_;
  Gauge& live_keys_;
  Gauge& dead_permille_;
  Gauge& segments_;
  Gauge& segment_bytes_;
};

}  // namespace larder::journal
