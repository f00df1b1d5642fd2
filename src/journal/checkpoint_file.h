// A checkpoint's file: a header, and pages with a checksum each.  Full checkpoints and increments
// share the header and one sequence of numbers.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "format/file_header.h"
#include "journal/files.h"
#include "journal/paged_file.h"

namespace larder::journal {

struct CheckpointKind {
  std::string_view prefix;  // of the file's name
  format::Magic magic;

  std::string name(uint64_t sequence) const { return numbered_name(prefix, sequence); }
};
inline constexpr CheckpointKind kFullFile{kCheckpointPrefix, format::kCheckpointMagic};
inline constexpr CheckpointKind kIncrementFile{kIncrementPrefix, format::kIncrementMagic};

// What an increment holds of each index entry that changed in its range of the log.
struct SavedEvent {
  static constexpr uint32_t kRemoval = 1;
  static constexpr uint32_t kAlone = 2;

  uint64_t address = 0;
  uint32_t identity = 0;
  uint32_t flags = 0;
};
static_assert(sizeof(SavedEvent) == 16);

uint64_t page_seed(const StoreFiles& files, uint64_t sequence);

struct CheckpointFile {
  std::unique_ptr<io::File> file;
  uint32_t version = 0;
  format::CheckpointBody body;

  PagedReader pages(const StoreFiles& files) const {
    return {*file, format::kHeaderPageBytes, body.page_count, page_seed(files, body.sequence)};
  }
  uint64_t size_bytes() const { return format::kHeaderPageBytes + body.page_count * kPageBytes; }
};

// Opens the file and verifies its header, but none of its pages.  Changes nothing.
Result<CheckpointFile> open_checkpoint(const StoreFiles& files, const CheckpointKind& kind,
                                       uint64_t sequence);

}  // namespace larder::journal
