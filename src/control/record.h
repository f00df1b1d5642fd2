// Recording by command: the commands, and what their replies mean to the client.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/ids.h"
#include "control/command.h"
#include "fs/access_recorder.h"

namespace larder::control {

// A file's path beneath the mount's root; none: not known.  Thread-safe, and does not wait.
using PathOfNode = std::function<std::optional<std::string>(NodeId)>;

// Adds record-begin, record-read and record-end.  The recorder must outlive the table's use.
void add_record_commands(CommandTable& table, fs::AccessRecorder& recorder, PathOfNode path_of);

// The four words of an access, as they stand in a trace: KEY SIZE TIME PATH.
std::string format_access(const fs::Access& access, const std::optional<std::string>& path);

// A reply to record-read, as the client sees it.
struct RecordedPart {
  std::string lines;  // of the trace, each with its newline
  uint64_t accesses = 0;
  uint64_t dropped = 0;  // since the recording began
  fs::AccessRecorder::State state = fs::AccessRecorder::State::kIdle;
};
Result<RecordedPart> parse_record_read(std::string_view reply);

}  // namespace larder::control
