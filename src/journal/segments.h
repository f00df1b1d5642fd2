// Segments: the files the log consists of.  Segment n holds the addresses from n * segment_bytes
// on, its first page is a header.  A segment is made complete (allocated, zeroed, header durable)
// under another name first, so one that has its name is whole.
//
// Invariant: the segments that are there are numbered without a gap, on the disk too, whatever a
// crash undoes: each removal at the low end is durable before the next.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/mutex.h"
#include "journal/files.h"

namespace larder::journal {

// A segment that is written: the file and all of it mapped shared.
struct MappedSegment {
  uint64_t number = 0;
  uint64_t begin = 0;  // address of the file's first byte
  std::shared_ptr<io::File> file;
  std::unique_ptr<io::Mapping> mapping;

  std::span<std::byte> bytes() const { return mapping->bytes(); }
  uint64_t end() const { return begin + bytes().size(); }
};

// Thread-safe.
class Segments {
 public:
  explicit Segments(StoreFiles files) : files_(std::move(files)) {}

  const StoreFiles& files() const { return files_; }
  uint64_t number_of(uint64_t address) const { return address / files_.segment_bytes; }
  // Address of the segment's first frame, and behind its last byte.
  uint64_t first_frame(uint64_t number) const {
    return number * files_.segment_bytes + format::kHeaderPageBytes;
  }
  uint64_t end_of(uint64_t number) const { return (number + 1) * files_.segment_bytes; }
  // "log-..., offset n", for messages.
  std::string place_of(uint64_t address) const;

  Result<std::shared_ptr<MappedSegment>> create(uint64_t number);
  Result<std::shared_ptr<MappedSegment>> open_mapped(uint64_t number);
  // Not durable before the directory is synced.
  Result<void> remove(uint64_t number);
  // Removes the lowest segment, durably, if all of it is below the address.  True when it did and
  // there may be more.  One caller at a time.
  Result<bool> truncate_below(uint64_t address);
  // The lowest segment there is; said by who opens the store.
  uint64_t first() const { return first_.load(std::memory_order_relaxed); }
  void set_first(uint64_t number) { first_.store(number, std::memory_order_relaxed); }
  // The whole file; kCorrupt when its header or size is not right.
  Result<void> read_whole(uint64_t number, std::vector<std::byte>& into);
  // Of one that was cut off, what is left of it, and zeros; the size that its file has.
  Result<uint64_t> read_what_is_there(uint64_t number, std::vector<std::byte>& into);
  // Reads up to the segment's end at most.
  Result<size_t> read(uint64_t address, std::span<std::byte> into);

 private:
  static constexpr size_t kOpenFilesMax = 64;
  struct OpenFile {
    uint64_t number;
    uint64_t last_use;
    std::shared_ptr<io::File> file;
  };

  Result<std::shared_ptr<io::File>> file_of(uint64_t number);
  Result<std::shared_ptr<MappedSegment>> map(uint64_t number, std::unique_ptr<io::File> file);

  const StoreFiles files_;
  std::atomic<uint64_t> first_{0};
  Mutex mutex_;
  std::vector<OpenFile> open_files_ GUARDED_BY(mutex_);
  uint64_t use_count_ GUARDED_BY(mutex_) = 0;
};

}  // namespace larder::journal
