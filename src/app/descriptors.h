// How the descriptors that the process may have are shared out: some for larder's own machinery,
// the rest for the open files of the mount (base/descriptor_limit.h).
#pragma once

#include <cstdint>

#include "app/config.h"
#include "base/error.h"

namespace larder::app {

// What the rest must be at least.
constexpr uint64_t kDescriptorsForFilesMin = 64;

// Of the process: the hard limit (`ulimit -Hn`).
uint64_t descriptors_allowed();

// How many of `allowed` are for files.  kInvalid when too few are left or `descriptors` is more
// than that; one line in detail().
Result<uint64_t> descriptors_for_files(const Config& config, uint64_t allowed);

// How many of these may be directories of the source that are kept open to be worked in: an eighth.
constexpr uint64_t directories_held_open(uint64_t for_files) {
  return for_files / 8;
}
static_assert(directories_held_open(kDescriptorsForFilesMin) > 0);

// Has the kernel hold the process to what the configuration says.
void limit_descriptors(const Config& config, uint64_t allowed);

}  // namespace larder::app
