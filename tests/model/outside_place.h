// One side of the test: a directory that operations are done to, and what is kept open in it.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "model/outside_operation.h"
#include "model/world.h"

namespace larder::model::outside {

// An operation with all that it depends on decided, so that each side does the same.
struct Action {
  Kind kind = Kind::kStat;
  std::string path = {};
  std::string other = {};
  uint32_t slot = 0;
  int flags = 0;
  uint64_t offset = 0;  // of a write; the new size of a shorter file
  std::string data = {};
  std::string temporary = {};  // for a name that nobody else has
  uint64_t seed = 0;           // of times and values
};

// Not thread-safe, except that directories and files may be used by different threads.
class Place {
 public:
  explicit Place(std::string root);
  ~Place() { close_all(); }
  Place(const Place&) = delete;
  Place& operator=(const Place&) = delete;

  const std::string& root() const { return root_; }
  std::string at(const std::string& name) const { return root_ + "/" + name; }
  Outcome apply(const Action& action);
  int file(uint32_t slot) const { return files_.at(slot); }
  int directory(uint32_t slot) const { return directories_.at(slot); }
  void close_all();

 private:
  Outcome change_file(const Action& action);
  Outcome change_names(const Action& action);
  Outcome look(const Action& action);
  Outcome use_file(const Action& action);
  Outcome use_directory(const Action& action);
  Outcome replace(const Action& action);

  const std::string root_;
  std::array<int, kFileSlots> files_;
  std::array<int, kDirectorySlots> directories_;
};

bool is_readable(int fd);
// All that is there, from `offset` on.
Outcome read_from(int fd, uint64_t offset, uint64_t length);

}  // namespace larder::model::outside
