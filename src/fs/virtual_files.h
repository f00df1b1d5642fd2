// Files that exist only in the mount: their content is made when they are opened.  fs/ shows them
// in a hidden directory of the root; control/ says which there are.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace larder::fs {

struct VirtualFile {
  std::string name;
  uint32_t permissions;               // 0400 or 0600
  std::function<std::string()> read;  // the whole content, called at open
  // Empty: read-only.  Gets what was written; its reply is read back on the same handle.
  std::function<std::string(std::string_view)> write;
};

// Immutable once in use, so thread-safe; the files' functions are called on any thread.
class VirtualDirectory {
 public:
  virtual ~VirtualDirectory() = default;
  virtual std::string_view name() const = 0;  // ".larder"
  virtual const std::vector<VirtualFile>& files() const = 0;
};

}  // namespace larder::fs
