#include "journal/log_gauges.h"

#include <algorithm>

namespace larder::journal {

LogGauges::LogGauges(Registry& registry)
    : begin_(registry.gauge("larder_journal_begin_address",
                            "Log address below which no record counts any more")),
      durable_(registry.gauge("larder_journal_durable_address",
                              "Log address up to which the journal is synced")),
      tail_(registry.gauge("larder_journal_tail_address", "Log address of the journal's end")),
      live_bytes_(registry.gauge("larder_journal_live_bytes",
                                 "Space of the newest records of living keys in the log")),
      live_keys_(registry.gauge("larder_journal_live_keys", "Living keys in the journal")),
      dead_permille_(registry.gauge("larder_journal_dead_permille",
                                    "Share of the log, of 1000, that is not live records")),
      segments_(registry.gauge("larder_journal_segments", "Files the journal's log consists of")),
      segment_bytes_(
          registry.gauge("larder_journal_log_bytes", "Size of the log's files on the disk")) {}

void LogGauges::show(const Segments& segments, const Log& log) {
  const Watermarks at = log.watermarks();
  const LiveCounts live = log.live();
  const uint64_t used = at.tail - at.begin;
  const uint64_t dead = used - std::min(live.bytes, used);
  const uint64_t count = segments.number_of(at.tail) - segments.first() + 1;
  begin_.set(static_cast<int64_t>(at.begin));
  durable_.set(static_cast<int64_t>(at.durable));
  tail_.set(static_cast<int64_t>(at.tail));
  live_bytes_.set(static_cast<int64_t>(live.bytes));
  live_keys_.set(static_cast<int64_t>(live.keys));
  dead_permille_.set(used == 0 ? 0 : static_cast<int64_t>(dead * 1000 / used));
  segments_.set(static_cast<int64_t>(count));
  segment_bytes_.set(static_cast<int64_t>(count * segments.files().segment_bytes));
}

}  // namespace larder::journal
