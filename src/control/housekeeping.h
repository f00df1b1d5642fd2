// Commands that start a pass of housekeeping, and tell what came of it.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "cache/audit.h"
#include "cache/scrub.h"
#include "control/command.h"

namespace larder::control {

// A kind of pass, and how it is asked for and followed; all functions are thread-safe.
struct PassCommand {
  std::string name;
  std::function<uint64_t()> request;  // gives the request's number
  // The highest request that a pass, begun after it, has answered by its end; 0: none.
  std::function<uint64_t()> answered;
  std::function<std::string()> findings;  // of the last pass, a JSON object
};

// Adds NAME and NAME-status (include/larder/control.h).
void add_pass_command(CommandTable& table, PassCommand command);

// As PassCommand::findings.
std::string format_findings(const cache::Audit::Status& status);
std::string format_findings(const cache::Scrub::Status& status);

}  // namespace larder::control
