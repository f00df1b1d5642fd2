#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>
#include <vector>

#include "control/exposition.h"
#include "control/metric_name.h"

namespace larder::control {
namespace {

struct Row {
  std::string label;
  std::string value;
};

struct Section {
  std::string title;
  std::vector<Row> rows;
  std::optional<int64_t> hits;
  std::optional<int64_t> misses;
};

std::string human_count(int64_t n) {
  std::string digits = fmt::format("{}", std::abs(n));
  for (int at = static_cast<int>(digits.size()) - 3; at > 0; at -= 3)
    digits.insert(static_cast<size_t>(at), ",");
  return (n < 0 ? "-" : "") + digits;
}

std::string human_uptime(Nanos uptime) {
  const auto total_s = std::chrono::duration_cast<std::chrono::seconds>(uptime).count();
  if (total_s < 60) return fmt::format("{} s", total_s);
  if (total_s < 3600) return fmt::format("{} min {} s", total_s / 60, total_s % 60);
  if (total_s < 86400) return fmt::format("{} h {} min", total_s / 3600, total_s / 60 % 60);
  return fmt::format("{} d {} h", total_s / 86400, total_s / 3600 % 24);
}

std::string in_words(std::string name) {
  std::ranges::replace(name, '_', ' ');
  return name;
}

std::string row_label(const std::string& name, const Labels& labels) {
  return labels.empty() ? in_words(name) : in_words(name) + " " + label_values(labels);
}

Section& section_of(std::vector<Section>& sections, const std::string& title) {
  const auto known = std::ranges::find(sections, title, &Section::title);
  if (known != sections.end()) return *known;
  return sections.emplace_back(Section{title, {}, {}, {}});
}

void add_scalar(Section& section, const std::string& field, const Registry::Entry& entry) {
  const int64_t value = scalar_value(entry);
  const bool bytes = field == "bytes" || field.ends_with("_bytes");
  section.rows.push_back({row_label(field, entry.labels),
                          bytes ? human_bytes(static_cast<double>(value)) : human_count(value)});
  if (!entry.labels.empty()) return;
  if (field == "hits") section.hits = value;
  if (field == "misses") section.misses = value;
}

std::string latency_row(const Histogram& histogram) {
  if (histogram.count() == 0) return "none yet";
  return fmt::format(
      "p50 {:>8}  p95 {:>8}  p99 {:>8}  count {}", human_duration(histogram.quantile(0.5)),
      human_duration(histogram.quantile(0.95)), human_duration(histogram.quantile(0.99)),
      human_count(static_cast<int64_t>(histogram.count())));
}

std::string render(const Section& section, size_t width) {
  std::string text = fmt::format("\n{}\n", section.title);
  for (const Row& row : section.rows)
    text += fmt::format("  {:<{}}  {}\n", row.label, width, row.value);
  return text;
}

}  // namespace

std::string human_bytes(double bytes) {
  constexpr std::array<std::string_view, 6> kUnits{"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
  size_t unit = 0;
  while (std::abs(bytes) >= 1024 && unit + 1 < kUnits.size()) {
    bytes /= 1024;
    ++unit;
  }
  return unit == 0 ? fmt::format("{:.0f} B", bytes) : fmt::format("{:.1f} {}", bytes, kUnits[unit]);
}

std::string human_duration(Nanos duration) {
  const auto ns = static_cast<double>(duration.count());
  if (ns < 1e3) return fmt::format("{:.0f} ns", ns);
  if (ns < 1e6) return fmt::format("{:.1f} us", ns / 1e3);
  if (ns < 1e9) return fmt::format("{:.1f} ms", ns / 1e6);
  return fmt::format("{:.1f} s", ns / 1e9);
}

std::string status_text(const Registry& registry, const MountFacts& facts, const Clock& clock) {
  std::vector<Section> sections;
  Section latency{"latency", {}, {}, {}};
  for (const Registry::Entry& entry : registry.entries()) {
    if (entry.kind == Registry::Entry::Kind::kHistogram) {
      latency.rows.push_back(
          {row_label(latency_name(entry.name), entry.labels), latency_row(*entry.histogram)});
      continue;
    }
    const MetricName name = split_metric_name(entry.name);
    add_scalar(section_of(sections, name.group), name.field, entry);
  }
  for (Section& section : sections)
    if (section.hits && section.misses && *section.hits + *section.misses > 0)
      section.rows.push_back(
          {"hit ratio",
           fmt::format("{:.1f} %", 100.0 * static_cast<double>(*section.hits) /
                                       static_cast<double>(*section.hits + *section.misses))});
  if (!latency.rows.empty()) sections.push_back(std::move(latency));

  Section head{fmt::format("larder {}", facts.version),
               {{"source", facts.source},
                {"mountpoint", facts.mountpoint},
                {"cache", facts.cache_dir},
                {"engine", facts.engine},
                {"passthrough", facts.passthrough()},
                {"pid", fmt::format("{}", facts.pid)},
                {"up for", human_uptime(clock.monotonic() - facts.started)}},
               {},
               {}};
  size_t width = 0;
  for (const Section& section : sections)
    for (const Row& row : section.rows) width = std::max(width, row.label.size());
  std::string text = render(head, width).substr(1);
  for (const Section& section : sections) text += render(section, width);
  return text;
}

}  // namespace larder::control
