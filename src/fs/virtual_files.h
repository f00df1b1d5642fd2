// The control directory's virtual files, as fuse/ serves them and control/ provides them.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace larder::fs {

// The functions are called on FUSE workers, several at a time: they must be quick and thread-safe.
struct VirtualFile {
  std::string name;
  uint32_t permissions = 0400;        // 0400 or 0600
  std::function<std::string()> read;  // the whole content; called at open
  // Empty for a read-only file.  Gets what was written and the number of the open file it came
  // through, which no other ever has; the reply is read back on the same open file.
  std::function<std::string(std::string_view, uint64_t client)> write;
  // May be empty.  An open file that was written to has been closed, or its program has ended.
  std::function<void(uint64_t client)> closed = {};
};

class VirtualDirectory {
 public:
  virtual ~VirtualDirectory() = default;
  // Its name in the mount's root (".larder"); hidden from listings.
  virtual std::string_view name() const = 0;
  virtual const std::vector<VirtualFile>& files() const = 0;
};

}  // namespace larder::fs
