// The page `larder status` shows: what a person wants to know, by name, from the same metrics that
// stats.json has whole.  What is zero and need not be known is left out.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <string_view>
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
};

// The registry's entries, to be asked by name; what there is none of is 0.
class Readings {
 public:
  explicit Readings(const Registry& registry) : entries_(registry.entries()) {}

  // The sum over all label sets, or the one with this label value.
  int64_t value(std::string_view name, std::string_view label = {}) const {
    int64_t sum = 0;
    for (const Registry::Entry& entry : entries_)
      if (entry.name == name && (label.empty() || label_values(entry.labels) == label))
        sum += scalar_value(entry);
    return sum;
  }
  const Histogram* histogram(std::string_view name, std::string_view label = {}) const {
    for (const Registry::Entry& entry : entries_)
      if (entry.histogram != nullptr && entry.name == name &&
          (label.empty() || label_values(entry.labels) == label))
        return entry.histogram;
    return nullptr;
  }

 private:
  std::vector<Registry::Entry> entries_;
};

std::string human_count(int64_t n) {
  const std::string digits = fmt::format("{}", n);
  std::string grouped;
  for (size_t i = 0; i < digits.size(); ++i) {
    const size_t left = digits.size() - i;
    if (i > 0 && left % 3 == 0 && digits[i - 1] != '-') grouped.push_back(',');
    grouped.push_back(digits[i]);
  }
  return grouped;
}

std::string human_size(int64_t bytes) {
  return human_bytes(static_cast<double>(bytes));
}

std::string share(int64_t part, int64_t whole) {
  if (whole <= 0) return "";
  return fmt::format(" ({:.1f} %)", 100.0 * static_cast<double>(part) / static_cast<double>(whole));
}

std::string human_span(Nanos span) {
  const auto total_s = std::chrono::duration_cast<std::chrono::seconds>(span).count();
  if (total_s < 60) return fmt::format("{} s", total_s);
  if (total_s < 3600) return fmt::format("{} min {} s", total_s / 60, total_s % 60);
  if (total_s < 86400) return fmt::format("{} h {} min", total_s / 3600, total_s / 60 % 60);
  return fmt::format("{} d {} h", total_s / 86400, total_s / 3600 % 24);
}

Section head(const MountFacts& facts, const Clock& clock) {
  return {fmt::format("larder {}", facts.version),
          {{"source", facts.source},
           {"mountpoint", facts.mountpoint},
           {"cache", facts.cache_dir},
           {"engine", facts.engine},
           {"passthrough", facts.passthrough()},
           {"pid", fmt::format("{}", facts.pid)},
           {"up for", human_span(clock.monotonic() - facts.started)}}};
}

Section reads(const Readings& now) {
  const int64_t memory = now.value("larder_read_hits_total", "memory");
  const int64_t disk = now.value("larder_read_hits_total", "disk");
  const int64_t misses = now.value("larder_read_misses_total");
  Section section{"reads", {}};
  section.rows = {
      {"hits", fmt::format("{}{}: {} from memory, {} from disk", human_count(memory + disk),
                           share(memory + disk, memory + disk + misses), human_count(memory),
                           human_count(disk))},
      {"misses", human_count(misses)},
      {"bytes", fmt::format("{} from memory, {} from disk, {} from the source",
                            human_size(now.value("larder_read_bytes_total", "memory")),
                            human_size(now.value("larder_read_bytes_total", "disk")),
                            human_size(now.value("larder_read_bytes_total", "source")))},
      {"in flight", fmt::format("{} fetches", human_count(now.value("larder_fetches_in_flight")))},
  };
  return section;
}

Section files(const Readings& now) {
  return {"files",
          {{"opens", fmt::format("{} in passthrough (their reads are not counted), {} cached",
                                 human_count(now.value("larder_opens_total", "passthrough")),
                                 human_count(now.value("larder_opens_total", "cached")))},
           {"open now", human_count(now.value("larder_open_handles"))}}};
}

Section cache(const Readings& now, const Clock& clock) {
  const int64_t used = now.value("larder_cache_used_bytes");
  const int64_t limit = now.value("larder_cache_limit_bytes");
  Section section{"cache", {}};
  section.rows = {
      {"used", fmt::format("{} of {}{}, {} files", human_size(used), human_size(limit),
                           share(used, limit), human_count(now.value("larder_cached_files")))},
      {"memory", human_size(now.value("larder_memory_used_bytes"))},
      {"verified", human_size(now.value("larder_scrub_bytes_total"))},
      {"evictions", fmt::format("{} files, {}", human_count(now.value("larder_evictions_total")),
                                human_size(now.value("larder_evicted_bytes_total")))}};
  if (const int64_t at = now.value("larder_cache_measured_at_seconds"); at > 0)
    section.rows.push_back(
        {"measured",
         fmt::format("{}, {} ago", human_size(now.value("larder_cache_measured_bytes")),
                     human_span(std::max(Nanos(0), clock.wall() - std::chrono::seconds(at))))});
  if (const int64_t bypassed = now.value("larder_bypassed_bytes_total"))
    section.rows.push_back({"bypassed", human_size(bypassed) + ", for want of room"});
  if (const int64_t invalidated = now.value("larder_invalidations_total"))
    section.rows.push_back({"invalidated", human_count(invalidated) + " files, changed outside"});
  return section;
}

int64_t calls(const Readings& now, std::string_view kind) {
  const Histogram* latency = now.histogram("larder_source_call_duration_seconds", kind);
  return latency == nullptr ? 0 : static_cast<int64_t>(latency->count());
}

Section source(const Readings& now) {
  const bool down = now.value("larder_source_breaker_state") != 0;
  Section section{"source", {}};
  section.rows = {
      {"state", down ? "down: what is cached is served, and it is asked again" : "up"},
      {"calls", fmt::format("{} metadata, {} data", human_count(calls(now, "metadata")),
                            human_count(calls(now, "data")))},
      {"in flight", human_count(now.value("larder_source_calls_in_flight")) + " calls"}};
  if (const int64_t offline = now.value("larder_served_offline_total"))
    section.rows.push_back({"without it", human_count(offline) + " answers while it was down"});
  return section;
}

Section latency(const Readings& now) {
  const std::array<std::pair<const char*, const Histogram*>, 4> kinds = {{
      {"hits", now.histogram("larder_read_hit_seconds")},
      {"misses", now.histogram("larder_read_miss_seconds")},
      {"source metadata", now.histogram("larder_source_call_duration_seconds", "metadata")},
      {"source data", now.histogram("larder_source_call_duration_seconds", "data")},
  }};
  Section section{"latency", {}};
  for (const auto& [label, histogram] : kinds) {
    if (histogram == nullptr) continue;
    std::string text = "none yet";
    if (histogram->count() > 0)
      text = fmt::format("p50 {:<8}  p95 {:<8}  p99 {}", human_duration(histogram->quantile(0.5)),
                         human_duration(histogram->quantile(0.95)),
                         human_duration(histogram->quantile(0.99)));
    section.rows.push_back({label, std::move(text)});
  }
  return section;
}

Section warming(const Readings& now) {
  const int64_t warmed = now.value("larder_warm_files_total");
  const int64_t queued = now.value("larder_warm_queued");
  if (warmed + queued == 0) return {};
  return {"warming",
          {{"loaded", fmt::format("{} files, {}", human_count(warmed),
                                  human_size(now.value("larder_warm_bytes_total")))},
           {"queued", human_count(queued)}}};
}

Section recording(const Readings& now) {
  if (now.value("larder_record_active") == 0) return {};
  return {"being recorded",
          {{"accesses", fmt::format("{} since the mount, {} dropped",
                                    human_count(now.value("larder_record_accesses_total")),
                                    human_count(now.value("larder_record_dropped_total")))}}};
}

Section errors(const Readings& now) {
  constexpr std::array<std::pair<const char*, const char*>, 7> kCounters = {{
      {"source failed", "larder_source_errors_total"},
      {"source timed out", "larder_source_timeouts_total"},
      {"calls hung", "larder_source_calls_hung"},
      {"cache writes", "larder_store_errors_total"},
      {"damaged blocks", "larder_scrub_bad_blocks_total"},
      {"local I/O", "larder_io_errors_total"},
      {"kernel not told", "larder_kernel_invalidations_given_up_total"},
  }};
  Section section{"errors", {}};
  for (const auto& [label, name] : kCounters)
    if (const int64_t count = now.value(name)) section.rows.push_back({label, human_count(count)});
  return section;
}

std::string render(const Section& section, size_t width) {
  std::string text = fmt::format("{}\n", section.title);
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
  const Readings now(registry);
  const std::array<Section, 9> sections = {head(facts, clock), reads(now),     files(now),
                                           cache(now, clock),  source(now),    latency(now),
                                           warming(now),       recording(now), errors(now)};
  size_t width = 0;
  for (const Section& section : sections)
    for (const Row& row : section.rows) width = std::max(width, row.label.size());
  std::string text;
  for (const Section& section : sections) {
    if (section.rows.empty()) continue;
    if (!text.empty()) text += '\n';
    text += render(section, width);
  }
  return text;
}

}  // namespace larder::control
