// One run of the differential test: the same operations, one by one, on a larder mount and on a
// plain directory.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "model/operation.h"

namespace larder::model {

// What a seed chooses besides the operations.
struct Setup {
  std::vector<std::string> options;  // of the mount, KEY=VALUE
  Shape shape;
  size_t compare_every = 40;  // operations between comparisons of the whole trees
  unsigned noise = 0;         // threads that read the mount all the time; not chosen by the seed
};
Setup make_setup(uint64_t seed);

struct Failure {
  size_t step = 0;  // the operation after which it showed
  std::string text;
};

struct Mounted {
  std::string problem;  // why nothing could be run; empty when it could
  std::optional<Failure> failure;
  std::string log;  // the mount's
};

Mounted run(const Setup& setup, const std::vector<Operation>& operations);

// The fewest operations found within the time that still fail.
std::vector<Operation> shrink(const Setup& setup, std::vector<Operation> operations,
                              unsigned seconds_max);

}  // namespace larder::model
