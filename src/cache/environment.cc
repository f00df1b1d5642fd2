#include "cache/environment.h"

namespace larder::cache {

Metrics::Metrics(Registry& r)
    : hits_memory(r.counter("larder_read_hits_total", "Reads answered without the source.",
                            {{"tier", "memory"}})),
      hits_disk(r.counter("larder_read_hits_total", "Reads answered without the source.",
                          {{"tier", "disk"}})),
      misses(r.counter("larder_read_misses_total", "Reads that waited for the source.")),
      bytes_memory(r.counter("larder_read_bytes_total", "Bytes read, by where they came from.",
                             {{"from", "memory"}})),
      bytes_disk(r.counter("larder_read_bytes_total", "Bytes read, by where they came from.",
                           {{"from", "disk"}})),
      bytes_source(r.counter("larder_read_bytes_total", "Bytes read, by where they came from.",
                             {{"from", "source"}})),
      fetches(r.counter("larder_fetches_total", "Reads of the source, to fill the cache.")),
      fetch_joins(r.counter("larder_fetch_joins_total",
                            "Reads that waited for a fetch another had begun.")),
      bypassed(
          r.counter("larder_bypassed_bytes_total", "Bytes read past the cache for want of room.")),
      invalidations(r.counter("larder_invalidations_total",
                              "Files whose cached data were dropped: changed outside.")),
      claims(r.counter("larder_claims_total", "Files whose cached blocks were made durable.")),
      punched_bytes(r.counter("larder_punched_bytes_total",
                              "Bytes punched out of large objects to make room.")),
      store_errors(
          r.counter("larder_store_errors_total",
                    "Failed writes to objects or the catalog; the data stay at the source.")),
      fetches_in_flight(r.gauge("larder_fetches_in_flight", "Source reads under way.")),
      hit_latency(r.histogram("larder_read_hit_seconds", "Time to answer a read from the cache.")),
      miss_latency(r.histogram("larder_read_miss_seconds",
                               "Time to answer a read that needed the source.")) {}

}  // namespace larder::cache
