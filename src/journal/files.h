// Names in a store's directory, and what all its parts need to know of it.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "format/file_header.h"
#include "io/disk.h"
#include "journal/file_sizes.h"

namespace larder::journal {

// "superblock", "log-<segment>", "checkpoint-<sequence>", "increment-<sequence>" (16 hexadecimal
// digits; the two kinds of checkpoint share one sequence); a name with ".new" behind it is a file
// being made: it becomes one of the others by rename when it is complete and durable.
inline constexpr std::string_view kSuperblockName = "superblock";
inline constexpr std::string_view kSegmentPrefix = "log-";
inline constexpr std::string_view kCheckpointPrefix = "checkpoint-";
inline constexpr std::string_view kIncrementPrefix = "increment-";
inline constexpr std::string_view kNewSuffix = ".new";

struct StoreFiles {
  io::Disk& disk;
  std::string directory;
  format::Uuid uuid{};
  uint64_t seed = 0;  // format::seed_of(uuid)
  uint64_t segment_bytes = 0;
  uint32_t version = 0;  // the superblock's
  // Shared by all copies of this.
  std::shared_ptr<FileSizes> sizes = std::make_shared<FileSizes>();

  std::string path(std::string_view name) const;
  // Numbers of the files with this prefix, ascending.
  Result<std::vector<uint64_t>> list(std::string_view prefix) const;
  // Makes the directory and all names in it durable.
  Result<void> sync_entries() const;
  // Makes the complete and synced file `name`.new into `name`, durably.
  Result<void> publish(const std::string& name) const;
  // Not durable before the directory is synced.
  Result<void> remove(const std::string& name) const;
  // Counts all files as they are now.
  Result<void> measure() const;
};

std::string numbered_name(std::string_view prefix, uint64_t number);
std::optional<uint64_t> number_of_name(std::string_view name, std::string_view prefix);

}  // namespace larder::journal
