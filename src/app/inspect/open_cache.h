// The way into a cache directory for those who only look.
#pragma once

#include <memory>
#include <string>

#include "base/error.h"
#include "io/disk.h"

namespace larder::app {

// Read-only.  Errors are one line that says what to do: it is no cache directory; it is in use
// (kLocked), unless `even_in_use`.  A daemon cannot start on it as long as the disk lives.
Result<std::unique_ptr<io::Disk>> open_cache_to_look(const std::string& path, bool even_in_use);

}  // namespace larder::app
