// File content that says itself what it is: each cell of 16 bytes names its file, the change that
// wrote it and its place.  So whoever reads a file while it changes can tell a byte of another
// file, a byte of another place, one that is too old, and one that nobody wrote.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace larder::model {

inline constexpr uint64_t kCellBytes = 16;

// The content of [offset, offset + length) of file number `file` as change number `version` writes
// it; offset and length are multiples of kCellBytes.  Later changes have greater numbers.
std::string cells(uint32_t file, uint32_t version, uint64_t offset, uint64_t length);

// Which change wrote each cell of a whole file, which is right.
std::vector<uint32_t> versions_of(const std::string& data);

struct Legal {
  uint32_t file = 0;  // 0: any, but one only
  // Of each place the oldest change that may still be seen; of places beyond: any.
  const std::vector<uint32_t>* oldest = nullptr;
  uint32_t newest = 0;
};
// Looks at what was read from `offset` on (whole cells only): empty, or what is wrong with it.
std::string check_cells(const std::string& data, uint64_t offset, Legal legal);

}  // namespace larder::model
