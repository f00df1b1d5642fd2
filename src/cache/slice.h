// A piece of file data on its way to a reader.
#pragma once

#include <cstddef>
#include <cstdint>

#include "buffer/pool.h"

namespace larder::cache {

// Bytes in a shared buffer, or, when `buffer` is empty, a range of a local file.
struct Slice {
  buffer::BufferRef buffer;
  size_t buffer_offset = 0;
  int file_fd = -1;  // not owned
  uint64_t file_offset = 0;
  size_t length = 0;
};

}  // namespace larder::cache
