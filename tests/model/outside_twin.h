// The yardstick: the same operations on a second directory of the same file system type without
// larder.  It decides what an operation does in detail, and knows of each open file what may be
// read from it before all is quiet.
//
// Invariants: each regular file here is known by its inode number to have the file number that its
// cells say; of an open file `oldest` is what has been seen or was written on the mount, and its
// size was never outside of [size_min, size_max] since the last quiet point or its opening.
#pragma once

#include <sys/types.h>

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "model/cells.h"
#include "model/outside_place.h"
#include "support/source_directory.h"

namespace larder::model::outside {

// Of a file that is open.
struct OpenFile {
  uint32_t file = 0;
  std::vector<uint32_t> oldest = {};
  uint64_t size_min = 0;
  uint64_t size_max = 0;
};

class Twin {
 public:
  Twin(testing_support::SourceKind kind, uint64_t file_bytes_max);

  const std::string& problem() const { return directory_->problem(); }
  const std::string& root() const { return place_.root(); }
  // `version` is greater than that of any change before.
  Action plan(const Operation& operation, uint32_t version) const;
  Outcome apply(const Action& action, bool outside, uint32_t version);
  bool exists(const std::string& path) const;
  const Place& place() const { return place_; }
  const OpenFile& open_file(uint32_t slot) const { return open_files_.at(slot); }
  void close_all() { place_.close_all(); }
  // Now everybody sees what is there.
  void all_is_seen();

 private:
  uint32_t file_number(const std::string& path) const;
  uint64_t size_at(const std::string& path) const;
  uint64_t size_of(int fd) const;
  void plan_write(Action& action, uint32_t file, uint64_t size, const Operation& operation,
                  uint32_t version) const;
  std::string behind_of(int directory) const;
  void note_new_file(const std::string& path, uint32_t version);
  void note_write(const Action& action, uint32_t version);
  void note_sizes(const Action& action);
  void see(OpenFile& open_file, const std::string& data) const;

  const uint64_t file_bytes_max_;
  // sshfs itself shows sizes that are past.
  const bool sizes_are_current_;
  std::unique_ptr<testing_support::SourceDirectory> directory_;
  Place place_;   // as programs see it
  Place behind_;  // as others do
  std::map<ino_t, uint32_t> files_;
  std::array<OpenFile, kFileSlots> open_files_;
};

}  // namespace larder::model::outside
