// What a metric's name says: group, field and unit.
#pragma once

#include <string>
#include <string_view>

#include "base/metrics.h"

namespace larder::control {

struct MetricName {
  std::string group;  // "reads"; "other" for names of one word
  std::string field;  // "hits"
};

// "larder_reads_hits_total" -> reads, hits.
MetricName split_metric_name(std::string_view name);

// A histogram's name without "larder_" and its unit: "larder_source_read_seconds" -> "source_read".
std::string latency_name(std::string_view name);

// A histogram's name for Prometheus, which counts in seconds: "..._ns" -> "..._seconds".
std::string seconds_name(std::string_view name);

// The labels' values joined with ",".
std::string label_values(const Labels& labels);

// The value of an entry that is not a histogram.
int64_t scalar_value(const Registry::Entry& entry);

}  // namespace larder::control
