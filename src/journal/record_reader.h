// RecordReader: records read from the log's files, each verified on its own.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "format/frame.h"
#include "journal/segments.h"

namespace larder::journal {

// Not thread-safe.
class RecordReader {
 public:
  // `stretch_bytes`: how much of the log to read at a time, for records that come one after
  // another.
  explicit RecordReader(Segments& segments, size_t stretch_bytes = 4096)
      : segments_(segments), stretch_bytes_(stretch_bytes) {}

  // The record at that address; its key and value are good until the next call.  kCorrupt, with
  // file and offset, when it does not verify.
  Result<format::RecordView> read(uint64_t address);

 private:
  std::span<const std::byte> from(uint64_t address) const;
  uint64_t size_at(uint64_t address) const;
  Result<void> read_stretch(uint64_t address, size_t bytes);

  Segments& segments_;
  const size_t stretch_bytes_;
  uint64_t begin_ = 0;  // the address of bytes_
  std::vector<std::byte> bytes_;
};

}  // namespace larder::journal
