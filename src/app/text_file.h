#pragma once

#include <string>

#include "base/error.h"

namespace larder::app {

// The whole content of a small file, also of one in /proc.  At most 64 MiB: beyond that kLimit.
Result<std::string> read_text_file(const std::string& path);

}  // namespace larder::app
