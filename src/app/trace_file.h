// Traces for `larder simulate`: one request a line, KEY [SIZE [TIME]], with blanks between them.
//
// KEY is any word; SIZE in bytes and TIME in seconds are decimal.  A request without a size takes
// one byte when others have one.  What comes after TIME is not read, nor are empty lines and those
// that start with '#' or '*'.  The log of `larder record` is such a trace.
#pragma once

#include <string>

#include "base/error.h"
#include "evict/simulation.h"

namespace larder::app {

// 20 bytes of memory a request when there are sizes and times, and the keys themselves.
constexpr size_t kTraceRequestsMax = 200'000'000;

// "-": standard input.  Errors are one line in detail(), with the number of the line that is wrong.
Result<evict::Trace> read_trace(const std::string& path);

}  // namespace larder::app
