// The mount's hidden directory of virtual files: status, stats.json, metrics, config, control.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/metrics.h"
#include "control/command.h"
#include "control/exposition.h"
#include "fs/virtual_files.h"

namespace larder::control {

// Registry and clock must outlive it.  Immutable, so thread-safe.
class ControlDirectory final : public fs::VirtualDirectory {
 public:
  ControlDirectory(const Registry& registry, const Clock& clock, MountFacts facts,
                   std::function<std::string()> config, CommandTable commands);
  ControlDirectory(const ControlDirectory&) = delete;  // the files' functions point here
  ControlDirectory& operator=(const ControlDirectory&) = delete;

  std::string_view name() const override { return facts_.control_dir; }
  const std::vector<fs::VirtualFile>& files() const override { return files_; }

 private:
  const Registry& registry_;
  const Clock& clock_;
  const MountFacts facts_;
  const CommandTable commands_;
  std::vector<fs::VirtualFile> files_;
};

}  // namespace larder::control
