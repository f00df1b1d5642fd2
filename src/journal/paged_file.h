// A stream of bytes in a file, cut into pages with a checksum each (docs/FORMAT.md, Checkpoint).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "io/disk.h"

namespace larder::journal {

inline constexpr size_t kPageBytes = 64 << 10;

struct PageHeader {
  uint64_t checksum = 0;       // of the rest of the page, seeded with the page's place
  uint32_t payload_bytes = 0;  // behind the header; then zeros
  uint32_t number = 0;
};
inline constexpr size_t kPagePayloadMax = kPageBytes - sizeof(PageHeader);

// Not thread-safe.
class PagedWriter {
 public:
  // Pages go from `offset` on.
  PagedWriter(io::File& file, uint64_t offset, uint64_t seed);
  Result<void> append(std::span<const std::byte> bytes);
  // The file's size once so many bytes more are appended and all is finished.
  uint64_t end_with(uint64_t bytes) const;
  // Writes what is left; returns the number of pages.
  Result<uint64_t> finish();

 private:
  static constexpr size_t kBatchPages = 16;

  void seal_page();
  Result<void> flush();

  io::File& file_;
  uint64_t offset_;
  const uint64_t seed_;
  uint32_t page_count_ = 0;  // sealed
  size_t page_begin_ = 0;    // of the open page in buffer_
  std::vector<std::byte> buffer_;
};

// Not thread-safe.
class PagedReader {
 public:
  PagedReader(io::File& file, uint64_t offset, uint64_t page_count, uint64_t seed);
  // Fills `into` or fails; kCorrupt when a page does not verify or the stream is over.
  Result<void> read(std::span<std::byte> into);
  // Reads and verifies all that is left.
  Result<void> verify_rest();

 private:
  static constexpr size_t kBatchPages = 16;

  Result<void> next_page();

  io::File& file_;
  uint64_t offset_;
  const uint64_t page_count_;
  const uint64_t seed_;
  uint64_t page_ = 0;  // to be opened next
  size_t buffered_pages_ = 0;
  size_t buffered_page_ = 0;
  std::vector<std::byte> buffer_;
  std::span<const std::byte> payload_;  // left of the open page
};

}  // namespace larder::journal
