// One mount in the system's mount table.
#pragma once

#include <string>

#include "base/error.h"

namespace larder::fuse {

class MountPoint {
 public:
  MountPoint() = default;
  // The mount that covers `path` now.
  static Result<MountPoint> find(const std::string& path);

  // Whether it is still in the table (a later mount over the same path is another one).
  bool mounted() const;
  // kBusy while something uses it.  No error when it is gone.
  Result<void> unmount() const;
  // Takes it out of the tree at once, and breaks the connection where that is permitted; who uses
  // it gets errors.
  Result<void> tear_off() const;
  // How far the kernel reads ahead; needs root.
  Result<void> set_readahead(size_t size_bytes) const;

  const std::string& path() const { return path_; }

 private:
  std::string path_;    // absolute, without links
  std::string device_;  // "major:minor", unique while mounted
};

}  // namespace larder::fuse
