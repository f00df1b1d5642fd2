// Changes at the source while programs on the mount read what they have open, read by name, and
// make files in directories that they have open.
#pragma once

#include <cstdint>
#include <string>

#include "model/outside_place.h"
#include "model/outside_twin.h"

namespace larder::model::outside {

struct Storm {
  uint64_t seed = 0;
  uint32_t version = 0;  // of its first change
  uint64_t file_bytes_max = 0;
};

// Empty, or what was wrong.  `behind` is where the source is changed, `mount` where programs look.
// What the programs make does not depend on the order of the changes.
std::string run_storm(const Storm& storm, Twin& twin, Place& behind, Place& mount);

// Reads a file that is open: empty, or what is wrong with what was read.
std::string read_legally(int fd, const OpenFile& open, uint64_t offset, uint64_t length,
                         uint32_t newest);

}  // namespace larder::model::outside
