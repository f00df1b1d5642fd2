// A descriptor and its share of the limit, which is given back after the descriptor is closed.
#pragma once

#include "base/descriptor_limit.h"
#include "source/unique_fd.h"

namespace larder::source {

struct CountedFd {
  DescriptorLimit::Slot slot;
  UniqueFd fd;
};

}  // namespace larder::source
