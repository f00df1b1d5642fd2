// Traces for `larder simulate`, read from a file; app/trace_parser.h says what they look like.
#pragma once

#include <string>

#include "base/error.h"
#include "evict/simulation.h"

namespace larder::app {

// "-": standard input.  Errors are one line in detail(), with the number of the line that is wrong.
Result<evict::Trace> read_trace(const std::string& path);

}  // namespace larder::app
