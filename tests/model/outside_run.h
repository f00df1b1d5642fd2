// One run of the differential test with changes from outside.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "model/outside_operation.h"
#include "model/trial.h"
#include "support/source_directory.h"

namespace larder::model::outside {

struct Setup {
  testing_support::SourceKind source = testing_support::SourceKind::kDisk;
  bool native = false;                    // the source takes the mount's place: tests the test
  std::vector<std::string> options = {};  // of the mount, KEY=VALUE
  unsigned ttl_ms = 0;                    // attr_ttl and negative_ttl
  uint64_t file_bytes_max = 0;
  uint64_t seed = 0;
  bool is_eager = false;  // does not wait long for what does not come
};
Setup make_setup(uint64_t seed, testing_support::SourceKind source);

// The longest that a change in place took to come through to a file that is open, in milliseconds.
int64_t slowest_ms();

// `without`: groups of operations.
Trial make_trial(uint64_t seed, size_t operations, testing_support::SourceKind source, bool native,
                 unsigned without);

}  // namespace larder::model::outside
