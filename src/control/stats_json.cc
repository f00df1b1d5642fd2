#include <nlohmann/json.hpp>

#include "control/exposition.h"
#include "control/metric_name.h"
#include "larder/control.h"

namespace larder::control {
namespace {

using Json = nlohmann::ordered_json;

Json latency_of(const Histogram& histogram) {
  const uint64_t count = histogram.count();
  return {{"count", count},
          {"mean_ns", count == 0 ? 0 : histogram.sum().count() / static_cast<int64_t>(count)},
          {"p50_ns", histogram.quantile(0.5).count()},
          {"p95_ns", histogram.quantile(0.95).count()},
          {"p99_ns", histogram.quantile(0.99).count()}};
}

// The place of a metric below its name: the name itself, or the name's object of label values.
Json& place(Json& parent, const std::string& name, const Labels& labels) {
  if (labels.empty()) return parent[name];
  Json& by_label = parent[name];
  if (!by_label.is_object()) by_label = Json::object();
  return by_label[label_values(labels)];
}

void add_hit_ratio(Json& group) {
  if (!group.is_object() || !group.contains("hits") || !group.contains("misses")) return;
  if (!group["hits"].is_number() || !group["misses"].is_number()) return;
  const auto hits = group["hits"].get<double>();
  const double all = hits + group["misses"].get<double>();
  group["hit_ratio"] = all > 0 ? Json(hits / all) : Json(nullptr);
}

}  // namespace

std::string stats_json(const Registry& registry, const MountFacts& facts, const Clock& clock) {
  Json stats = {
      {"schema", kStatsSchema},
      {"version", facts.version},
      {"pid", facts.pid},
      {"source", facts.source},
      {"mountpoint", facts.mountpoint},
      {"cache_dir", facts.cache_dir},
      {"control_dir", facts.control_dir},
      {"uptime_s", std::chrono::duration<double>(clock.monotonic() - facts.started).count()},
      {"engine", facts.engine},
      {"passthrough", facts.passthrough()}};
  Json groups = Json::object();
  Json latency = Json::object();
  for (const Registry::Entry& entry : registry.entries()) {
    if (entry.kind == Registry::Entry::Kind::kHistogram) {
      place(latency, latency_name(entry.name), entry.labels) = latency_of(*entry.histogram);
      continue;
    }
    const MetricName name = split_metric_name(entry.name);
    place(groups[name.group], name.field, entry.labels) = scalar_value(entry);
  }
  for (Json& group : groups) add_hit_ratio(group);
  stats["metrics"] = std::move(groups);
  stats["latency"] = std::move(latency);
  // File names need not be UTF-8; JSON must be.
  return stats.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace larder::control
