// Paths as the user of `larder warm` writes them, brought to the mount's root.
#pragma once

#include <string>

#include "base/error.h"

namespace larder::app {

struct PathsOfUser {
  std::string mountpoint;        // resolved
  std::string mountpoint_given;  // absolute, perhaps through symlinks
  std::string working_directory;
  std::string source;

  // Relative to the mount's root.  kInvalid with a line in detail() that says what is wrong with
  // it.
  Result<std::string> on_mount(const std::string& path) const;
  // Whether it is a relative one that does not lead onto the mount from the current directory.
  bool counts_from_root(const std::string& path) const;
};

struct WarmPlace {
  std::string mountpoint;
  std::string path;  // beneath it, "." when the mount itself was named
  PathsOfUser paths;
};
// Takes the mount point, or a path on the mount, which need not exist, apart.
Result<WarmPlace> find_warm_place(const std::string& given);

// What to say of a path that is not there, with a guess why.
std::string missing_line(const std::string& path);

}  // namespace larder::app
