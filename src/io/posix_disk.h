// The real local disk: a Disk over a directory's descriptor.
#pragma once

#include <memory>
#include <string>

#include "io/disk.h"

namespace larder::io {

// Opens the directory `root`, which must exist.  The disk keeps a descriptor on it, so a later
// rename of the directory does not matter.
Result<std::unique_ptr<Disk>> open_posix_disk(const std::string& root);

// As open_posix_disk, and takes an exclusive flock(2) on the directory's file `lock_name`, which is
// created; kLocked when another process holds it.  Held until the Disk is destroyed.
Result<std::unique_ptr<Disk>> open_posix_disk_locked(const std::string& root,
                                                     const std::string& lock_name);

}  // namespace larder::io
