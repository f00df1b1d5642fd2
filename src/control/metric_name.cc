#include "control/metric_name.h"

#include <array>

namespace larder::control {
namespace {

constexpr std::array<std::string_view, 5> kTimeSuffixes{"_latency_ns", "_latency_seconds",
                                                        "_duration_seconds", "_seconds", "_ns"};

std::string_view without_prefix(std::string_view name) {
  if (name.starts_with("larder_")) name.remove_prefix(7);
  return name;
}

std::string_view without_suffix(std::string_view name, std::string_view suffix) {
  if (name.ends_with(suffix)) name.remove_suffix(suffix.size());
  return name;
}

}  // namespace

MetricName split_metric_name(std::string_view name) {
  const std::string_view plain = without_suffix(without_prefix(name), "_total");
  const size_t end = plain.find('_');
  if (end == std::string_view::npos) return {"other", std::string(plain)};
  return {std::string(plain.substr(0, end)), std::string(plain.substr(end + 1))};
}

std::string latency_name(std::string_view name) {
  const std::string_view plain = without_prefix(name);
  for (const std::string_view suffix : kTimeSuffixes)
    if (plain.ends_with(suffix)) return std::string(without_suffix(plain, suffix));
  return std::string(plain);
}

std::string seconds_name(std::string_view name) {
  if (name.ends_with("_seconds")) return std::string(name);
  return std::string(without_suffix(name, "_ns")) + "_seconds";
}

std::string label_values(const Labels& labels) {
  std::string text;
  for (const auto& [name, value] : labels) text += (text.empty() ? "" : ",") + value;
  return text;
}

int64_t scalar_value(const Registry::Entry& entry) {
  switch (entry.kind) {
    case Registry::Entry::Kind::kCounter:
      return static_cast<int64_t>(entry.counter->value());
    case Registry::Entry::Kind::kGauge:
      return entry.gauge->value();
    case Registry::Entry::Kind::kCallback:
      return entry.read();
    case Registry::Entry::Kind::kHistogram:
      break;
  }
  return 0;
}

}  // namespace larder::control
