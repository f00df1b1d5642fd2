#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>

#include <limits>
#include <unordered_map>

#include "control/exposition.h"
#include "control/metric_name.h"

namespace larder::control {
namespace {

using Kind = Registry::Entry::Kind;

double seconds(Nanos duration) {
  return std::chrono::duration<double>(duration).count();
}

prometheus::ClientMetric::Histogram to_prometheus(const Histogram& histogram) {
  // Every eighth of the histogram's own buckets ends at a power of four.
  constexpr size_t kStep = 2 * Histogram::kSubBuckets;
  const auto counts = histogram.buckets();
  prometheus::ClientMetric::Histogram shown;
  shown.sample_sum = seconds(histogram.sum());
  for (size_t i = 0; i < counts.size(); ++i) {
    shown.sample_count += counts[i];
    if (i % kStep == kStep - 1)
      shown.bucket.push_back({shown.sample_count, seconds(Histogram::bucket_limit(i))});
  }
  shown.bucket.push_back({shown.sample_count, std::numeric_limits<double>::infinity()});
  return shown;
}

prometheus::MetricType type_of(Kind kind) {
  switch (kind) {
    case Kind::kCounter:
      return prometheus::MetricType::Counter;
    case Kind::kHistogram:
      return prometheus::MetricType::Histogram;
    default:
      return prometheus::MetricType::Gauge;
  }
}

prometheus::ClientMetric to_prometheus(const Registry::Entry& entry) {
  prometheus::ClientMetric metric;
  for (const auto& [name, value] : entry.labels) metric.label.push_back({name, value});
  if (entry.kind == Kind::kHistogram)
    metric.histogram = to_prometheus(*entry.histogram);
  else if (entry.kind == Kind::kCounter)
    metric.counter.value = static_cast<double>(entry.counter->value());
  else
    metric.gauge.value = static_cast<double>(scalar_value(entry));
  return metric;
}

}  // namespace

std::string prometheus_text(const Registry& registry) {
  std::vector<prometheus::MetricFamily> families;
  std::unordered_map<std::string, size_t> index;
  for (const Registry::Entry& entry : registry.entries()) {
    const std::string name = entry.kind == Kind::kHistogram ? seconds_name(entry.name) : entry.name;
    const auto [at, is_new] = index.try_emplace(name, families.size());
    if (is_new) families.push_back({name, entry.help, type_of(entry.kind), {}});
    families[at->second].metric.push_back(to_prometheus(entry));
  }
  return prometheus::TextSerializer().Serialize(families);
}

}  // namespace larder::control
