// A directory the operations are done to, with the handles held open in it.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>

#include "model/operation.h"

namespace larder::model {

// What a program sees of one operation.
struct Outcome {
  int error = 0;  // errno; 0: done
  int64_t value = 0;
  std::string data;
  bool operator==(const Outcome&) const = default;
};
std::string describe(const Outcome& outcome);

class World {
 public:
  explicit World(std::string root) : root_(std::move(root)) { handles_.fill(-1); }
  ~World() { close_all(); }
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  const std::string& root() const { return root_; }
  Outcome apply(const Operation& operation);
  void close_all();
  int handle(uint32_t slot) const { return handles_.at(slot); }

 private:
  std::string path(const std::string& name) const { return root_ + "/" + name; }
  Outcome apply_to_path(const Operation& operation);
  Outcome apply_to_handle(const Operation& operation);
  Outcome open_slot(const Operation& operation);
  Outcome put(const Operation& operation);

  const std::string root_;
  std::array<int, kHandleSlots> handles_;
};

// The attributes that are the same on any file system: type, permissions, owners, links, size (not
// a directory's); `times`: mtime and ctime, too.
Outcome attributes(const std::string& path, bool times);
// size_bytes: instead of what fstat(2) says.
Outcome attributes(int fd, bool times, std::optional<uint64_t> size_bytes = std::nullopt);
// Names and types, sorted.
Outcome list(const std::string& path);
Outcome read_all(const std::string& path);
Outcome xattrs(const std::string& path);

}  // namespace larder::model
