// The Registry's metrics in the forms others read: Prometheus text, JSON, text for people.
//
// Metric names are larder_<group>_<what>[_<unit>][_total]; the JSON follows from them by rule
// (include/larder/control.h).  All functions are thread-safe.
#pragma once

#include <functional>
#include <string>

#include "base/clock.h"
#include "base/metrics.h"

namespace larder::control {

// What is fixed for the life of one mount.
struct MountFacts {
  std::string version;
  int pid = 0;
  std::string source;
  std::string mountpoint;
  std::string cache_dir;
  std::string control_dir;
  std::string engine;                        // "uring" or "threads"
  std::function<std::string()> passthrough;  // "on", or "off" with the reason; thread-safe
  Nanos started{0};                          // by the same clock's monotonic()
};

// Text exposition format 0.0.4.  Histograms have one bucket per factor of four, in seconds.
std::string prometheus_text(const Registry& registry);

std::string stats_json(const Registry& registry, const MountFacts& facts, const Clock& clock);

std::string status_text(const Registry& registry, const MountFacts& facts, const Clock& clock);

// "1.5 GiB", "950 B".
std::string human_bytes(double bytes);
// "950 ns", "1.2 ms", "3.4 s".
std::string human_duration(Nanos duration);

}  // namespace larder::control
