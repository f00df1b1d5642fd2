// Reading from a file system whose page cache may hold zeros that nobody wrote.
//
// What a FUSE server answers too little of, the kernel fills up with zeros and takes for the end of
// the file; once it hears of the right size again, readers under way, and at times later ones, get
// those zeros as if the file had them.  sshfs answers so while its server cannot read its disk.
// So a read that ended early, or gave a page that ends in zeros, is not believed by itself: it is
// made once more past the page cache, through a fresh descriptor, and both must say the same.
#pragma once

#include <atomic>
#include <cstdint>
#include <span>

#include "base/error.h"

namespace larder::source {

// Which kind of file system a descriptor's file is on, found out when it is first needed.
class PageCacheTrust {
 public:
  bool is_doubtful(int fd);  // may ask the source
  bool was_doubtful() const { return kind_.load(std::memory_order_relaxed) >= Kind::kDoubtful; }
  // The descriptor, whose page cache is doubtful, reads past it from now on (O_DIRECT).
  void bypass() { kind_.store(Kind::kBypassed, std::memory_order_relaxed); }
  bool is_bypassed() const { return kind_.load(std::memory_order_relaxed) == Kind::kBypassed; }

 private:
  enum class Kind : uint8_t { kUnknown, kTrusted, kDoubtful, kBypassed };
  std::atomic<Kind> kind_{Kind::kUnknown};
};

// Reads all of `into`, or less at the end of the file; kIo when what is read now is one thing and
// then another.  Blocks.
Result<size_t> read_believably(int fd, std::span<std::byte> into, uint64_t offset,
                               PageCacheTrust& trust);

// The same through a descriptor that reads past the page cache (PageCacheTrust::bypass): less where
// the file ends, or the kernel says so (source/end_by_reading.h).  Blocks.
Result<size_t> read_directly(int fd, std::span<std::byte> into, uint64_t offset);

// Whether a short answer could have been made into these bytes: a page of the file, of those that
// begin at `offset`, ends in zeros.  For the function above, and tests.
bool may_be_filled_up(std::span<const std::byte> bytes, uint64_t offset);

}  // namespace larder::source
