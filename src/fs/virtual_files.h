// The control directory's virtual files, as fuse/ serves them and control/ provides them.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace larder::fs {

// Both functions are called on FUSE workers, several at a time: they must be quick and thread-safe.
struct VirtualFile {
  std::string name;
  uint32_t permissions = 0400;        // 0400 or 0600
  std::function<std::string()> read;  // the whole content; called at open
  // Empty for a read-only file.  Gets what was written; the reply is read back on the same handle.
  std::function<std::string(std::string_view)> write;
};

class VirtualDirectory {
 public:
  virtual ~VirtualDirectory() = default;
  // Its name in the mount's root (".larder"); hidden from listings.
  virtual std::string_view name() const = 0;
  virtual const std::vector<VirtualFile>& files() const = 0;
};

}  // namespace larder::fs
