// One run of the differential test: the same operations, one by one, on a larder mount and on a
// plain directory.
#pragma once

#include <string>
#include <vector>

#include "model/operation.h"
#include "model/trial.h"

namespace larder::model {

// What a seed chooses besides the operations.
struct Setup {
  std::vector<std::string> options;  // of the mount, KEY=VALUE
  Shape shape;
  size_t compare_every = 40;  // operations between comparisons of the whole trees
  unsigned noise = 0;         // threads that read the mount all the time; not chosen by the seed
};
Setup make_setup(uint64_t seed);

Mounted run(const Setup& setup, const std::vector<Operation>& operations);

// The same as a trial.
Trial make_trial(uint64_t seed, size_t operations, unsigned noise);

}  // namespace larder::model
