// The directory under a disk that is not mounted looks like a place for a new cache: everything
// would be fetched again, onto the wrong disk.  So a cache directory is refused when it lies in an
// empty mount point of fstab, or when it was on a file system before that is not mounted now.
//
// The latter is remembered outside the cache directory, in a note for each cache directory that is
// not on the root file system: two lines, its path and the mount point it lies beneath.
#pragma once

#include <string>

#include "app/preflight.h"
#include "base/error.h"

namespace larder::app {

// `notes` is the directory of the notes; `cache` is without symlinks and need not exist.  Errors
// are one line in detail() that says what to do.
Result<void> check_cache_disk(const std::string& cache, const std::string& notes,
                              const Surroundings& surroundings);
// Remembers on which file system the cache directory is now.
Result<void> note_cache_disk(const std::string& cache, const std::string& notes,
                             const Surroundings& surroundings);

}  // namespace larder::app
