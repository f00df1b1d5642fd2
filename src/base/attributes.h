// Attributes of a file, as a file system reports them, and the validator made of them.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <vector>

#include "base/timestamp.h"

namespace larder {

struct FileTimes {
  Timestamp atime;
  Timestamp mtime;
  Timestamp ctime;
  bool operator==(const FileTimes&) const = default;
};

struct Attributes {
  uint64_t inode = 0;  // the number the source gives
  uint32_t mode = 0;   // type and permissions, as st_mode
  uint32_t nlink = 0;
  uint32_t uid = 0;
  uint32_t gid = 0;
  uint64_t rdev = 0;  // as makedev(3)
  uint64_t size_bytes = 0;
  uint64_t blocks_512 = 0;  // allocated, in units of 512 bytes
  FileTimes times;
  bool operator==(const Attributes&) const = default;
};

// Tells versions of a file's data apart.  Two equal validators mean the same data, as far as the
// source lets one know; inode is 0 where the source's inode numbers are not stable.
struct Validator {
  uint64_t size_bytes = 0;
  Timestamp mtime;
  Timestamp ctime;
  uint64_t inode = 0;
  bool operator==(const Validator&) const = default;
};

// Who asks: new files belong to him, and his umask applies.
struct Caller {
  uid_t uid = 0;
  gid_t gid = 0;
  pid_t pid = 0;
  mode_t umask = 0;
};

// The same with all his groups, which are looked up only where they matter.
struct Credentials {
  uid_t uid = 0;
  gid_t gid = 0;
  std::vector<gid_t> groups{};
};

}  // namespace larder
