#include "control/housekeeping.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

namespace larder::control {

void add_pass_command(CommandTable& table, PassCommand command) {
  const std::string name = command.name;
  const auto expect_alone = [](const std::vector<std::string>& words, const std::string& usage) {
    return words.empty() ? Result<void>() : fail(Code::kInvalid, "expected: " + usage);
  };
  table.add(name, [=](const std::vector<std::string>& words) -> Result<std::string> {
    TRY(expect_alone(words, name));
    return fmt::format("{}", command.request());
  });
  table.add(name + "-status", [=](const std::vector<std::string>& words) -> Result<std::string> {
    TRY(expect_alone(words, name + "-status"));
    // What is answered first: the findings may be of a later pass, never of an earlier one.
    const uint64_t answered = command.answered();
    return fmt::format("{} {}", answered, command.findings());
  });
}

std::string format_findings(const cache::Scrub::Status& status) {
  const nlohmann::ordered_json json = {{"passes", status.passes},
                                       {"blocks", status.blocks},
                                       {"bytes", status.bytes},
                                       {"bad_blocks", status.bad_blocks}};
  return json.dump();
}

std::string format_findings(const cache::Audit::Status& status) {
  const cache::AuditFindings& found = status.findings;
  const nlohmann::ordered_json json = {{"passes", status.passes},
                                       {"orphans", found.orphans},
                                       {"strays", found.strays},
                                       {"removed", found.removed},
                                       {"settled", found.settled},
                                       {"objects", found.objects},
                                       {"object_bytes", found.object_bytes},
                                       {"journal_bytes", found.journal_bytes},
                                       {"metadata_bytes", found.metadata_bytes},
                                       {"measured_bytes", found.measured_bytes()},
                                       {"accounted_bytes", status.accounted_bytes},
                                       {"error", status.error}};
  return json.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

}  // namespace larder::control
