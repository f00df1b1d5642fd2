// Operations of the differential test: each says by itself what it does (names and handle slots
// from small fixed pools, data from its own seed), so any subsequence of a run is a run, too, and
// can be tried when a failure is shrunk.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/random.h"

namespace larder::model {

enum class Kind {
  // on paths
  kPut,  // opens (creating), writes [offset, offset + length), closes
  kReadFile,
  kTruncate,
  kRename,
  kLink,
  kUnlink,
  kMakeDirectory,
  kRemoveDirectory,
  kSymlink,
  kReadLink,
  kChmod,
  kChown,
  kSetTimes,
  kSetXattr,
  kGetXattr,
  kListXattr,
  kRemoveXattr,
  kList,
  kStat,
  // on handle slots
  kOpen,  // closes what the slot held
  kClose,
  kWrite,
  kRead,
  kMapRead,
  kMapWrite,
  kTruncateHandle,
  kAllocate,
  kSeek,
  kCopyRange,
  kChmodHandle,
  kStatHandle,
  kSync,
  // on the mount
  kRemount,
  kKill,
  kEnd,  // not an operation
};

struct Operation {
  Kind kind = Kind::kStat;
  // Done to the source behind the mount's back (path operations only, all handles closed before).
  bool outside = false;
  std::string path;
  std::string other;  // the new name of a rename or link, a symlink's target, an attribute's name
  uint32_t handle = 0;
  uint32_t other_handle = 0;
  int flags = 0;  // of open, rename, fallocate, setxattr; whence; mode; uid
  uint64_t offset = 0;
  uint64_t length = 0;
  uint64_t seed = 0;  // of the data
};

inline constexpr uint32_t kHandleSlots = 6;

struct Shape {
  uint64_t file_bytes_max = 0;  // offsets are below it
  uint64_t block_bytes = 0;     // offsets like to be near multiples of it
  bool outside = false;         // with outside changes
  bool restarts = true;         // with remounts and kills
};

std::vector<Operation> make_operations(uint64_t seed, size_t count, const Shape& shape);
std::string describe(const Operation& operation);

// Data that differ everywhere and for each seed.
std::string data_of(uint64_t seed, size_t length);

}  // namespace larder::model
