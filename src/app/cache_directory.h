// The cache directory as a whole: locked by one daemon, belonging to one source.
#pragma once

#include <memory>
#include <string>

#include "base/error.h"
#include "io/disk.h"

namespace larder::app {

// Opens and locks the cache directory for this source; a new one is marked as the source's.  Errors
// name what to do: kLocked (another daemon uses it), kExists (it belongs to another source),
// kCorrupt, kNewerFormat.  Nothing is changed in a directory that is refused.
Result<std::unique_ptr<io::Disk>> open_cache_directory(const std::string& path,
                                                       const std::string& source);

}  // namespace larder::app
