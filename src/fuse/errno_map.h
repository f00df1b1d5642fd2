// The one place that turns a Code into an errno for the kernel.
#pragma once

#include "base/error.h"

namespace larder::fuse {

// A positive errno that the kernel takes from a FUSE daemon.
int errno_of(Code code);
inline int errno_of(const Error& error) {
  return errno_of(error.code());
}

}  // namespace larder::fuse
