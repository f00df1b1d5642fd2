// Comparing whole directory trees.
#pragma once

#include <string>

namespace larder::model {

struct TreeComparison {
  bool xattrs = false;
  bool times = false;     // mtime and ctime, too
  bool is_mount = false;  // `got` is a mount: its listings give the inode numbers stat gives
};

// Empty when the trees are the same in names, types, attributes and data; else the first
// difference.
std::string compare(const std::string& expected, const std::string& got,
                    const TreeComparison& what);
std::string first_difference(const std::string& expected, const std::string& got);

}  // namespace larder::model
