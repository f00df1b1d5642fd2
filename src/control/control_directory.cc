#include "control/control_directory.h"

#include "larder/control.h"

namespace larder::control {

ControlDirectory::ControlDirectory(const Registry& registry, const Clock& clock, MountFacts facts,
                                   std::function<std::string()> config, CommandTable commands)
    : registry_(registry), clock_(clock), facts_(std::move(facts)), commands_(std::move(commands)) {
  files_ = {
      {kStatusFile, 0400, [this] { return status_text(registry_, facts_, clock_); }, {}},
      {kStatsFile, 0400, [this] { return stats_json(registry_, facts_, clock_); }, {}},
      {kMetricsFile, 0400, [this] { return prometheus_text(registry_); }, {}},
      {kConfigFile, 0400, std::move(config), {}},
      {kControlFile, 0600, [] { return std::string(); },
       [this](std::string_view lines, uint64_t client) { return commands_.run(lines, client); },
       [this](uint64_t client) { commands_.closed(client); }},
  };
}

}  // namespace larder::control
