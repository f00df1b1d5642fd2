// The FUSE operations of the slow source: each one waits or fails as Faults says, then does what
// the directory does.
#pragma once

#include <fuse_lowlevel.h>

#include "faults.h"
#include "tree.h"

namespace larder::slow_source {

// The session's user data.
struct Context {
  Faults& faults;
  Tree& tree;
};

extern const fuse_lowlevel_ops kOperations;

}  // namespace larder::slow_source
