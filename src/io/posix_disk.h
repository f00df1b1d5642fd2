// The real local disk: a Disk over a directory's descriptor.
#pragma once

#include <memory>
#include <string>

#include "io/disk.h"

namespace larder::io {

// Opens the directory `root`, which must exist.  The disk keeps a descriptor on it, so a later
// rename of the directory does not matter.
Result<std::unique_ptr<Disk>> open_posix_disk(const std::string& root);

// As open_posix_disk, for looking only: what would change something gives EROFS, and times of
// access stay as they are where the kernel allows that.  With a `lock_name` a shared flock is taken
// on that file, if it is there; kLocked when another process holds it exclusively.
Result<std::unique_ptr<Disk>> open_posix_disk_read_only(const std::string& root,
                                                        const std::string& lock_name = {});

// As open_posix_disk, and takes an exclusive flock(2) on the directory's file `lock_name`, which is
// created; kLocked when another process holds it.  Held until the Disk is destroyed.
Result<std::unique_ptr<Disk>> open_posix_disk_locked(const std::string& root,
                                                     const std::string& lock_name);

}  // namespace larder::io
