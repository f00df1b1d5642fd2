// A seed's run, whatever it consists of, and how to find the fewest of its operations that fail.
#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace larder::model {

struct Failure {
  size_t step = 0;  // the operation after which it showed
  std::string text;
};

struct Mounted {
  std::string problem = {};  // why nothing could be run; empty when it could
  std::optional<Failure> failure = {};
  std::string log = {};  // the mount's
};

struct Trial {
  std::string setup = {};                    // what the seed chose besides the operations
  std::vector<std::string> operations = {};  // each in words
  // Does those of the operations, in order.  `eager`: looks for failures more often.
  std::function<Mounted(const std::vector<size_t>& chosen, bool eager)> run = {};
};

// The fewest found within the time that still fail, beginning with those chosen.
std::vector<size_t> shrink(const Trial& trial, std::vector<size_t> chosen, unsigned seconds_max);

}  // namespace larder::model
