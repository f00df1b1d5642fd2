// Lists of paths for `larder warm`: read as a stream, and brought to the form the mount wants.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"

namespace larder::app {

// Reads a descriptor's paths one by one, however long the list.  They end with NUL or with newline:
// whichever comes first in the list tells, unless told.  Not thread-safe.
class PathReader {
 public:
  // Does not own fd.
  explicit PathReader(int fd, std::optional<char> separator = {})
      : fd_(fd), separator_(separator) {}
  // The next path that is not empty; nothing at the end.
  Result<std::optional<std::string>> next();

 private:
  Result<bool> fill();

  const int fd_;
  std::optional<char> separator_;
  std::string pending_;
  size_t taken_ = 0;  // of pending_
  bool at_end_ = false;
};

// `path` relative to the mount's root, "." for the root itself.  An absolute path must lie under
// the mountpoint; a relative one starts at `working_directory` when that lies on the mount, else at
// the mount's root.  "." and ".." are resolved by name.  kInvalid with a line in detail() when it
// leaves the mount.
Result<std::string> path_on_mount(std::string_view path, const std::string& mountpoint,
                                  const std::string& working_directory);

}  // namespace larder::app
