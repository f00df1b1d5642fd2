// RecordReader: records that are no longer in memory, one at a time, with a stretch of the log read
// around each so that neighbours cost nothing.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/metrics.h"
#include "format/frame.h"
#include "journal/segments.h"

namespace larder::journal {

// Not thread-safe.
class RecordReader {
 public:
  // `reads` counts what is read from the disk.
  RecordReader(Segments& segments, Counter& reads) : segments_(segments), reads_(reads) {}

  static constexpr size_t kStretchBytes = 4096;
  // The record at the address, valid until the next call; reads so many bytes unless what was read
  // last has it.  kCorrupt, with the place: it does not verify.  kNotFound: its segment is not
  // there.
  Result<format::RecordView> read(uint64_t address, size_t stretch_bytes = kStretchBytes);

 private:
  std::span<const std::byte> buffered(uint64_t address) const;
  uint64_t wanted_bytes(uint64_t address) const;
  Result<void> fill(uint64_t address, size_t bytes);

  Segments& segments_;
  Counter& reads_;
  uint64_t begin_ = 0;  // address of what is in bytes_
  std::vector<std::byte> bytes_;
};

}  // namespace larder::journal
