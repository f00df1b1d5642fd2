// The kernel's side of a FUSE mount: how to end it whatever its daemon does.
#pragma once

#include <string>

namespace larder::slow_source {

// The connection's number, of a FUSE file system mounted exactly at `mountpoint` (absolute, without
// symlinks); -1 when there is none.  Does not touch the mount, which may hang.
int connection_of(const std::string& mountpoint);
// Every request fails from here on, and the daemon's descriptor, too.  Wants the kernel's control
// file system for FUSE, which root mounts here where it is not mounted, and says so.  False, with
// the reason on stderr, when it cannot be done.
bool abort_connection(int connection);

}  // namespace larder::slow_source
