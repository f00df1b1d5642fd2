// Object files: one sparse file per object under objects/, in which offset n is offset n of the
// source file.
//
// Layout: objects/<last two hex digits of the id>/<id in hex>.  256 directories, made when first
// used. Thread-safe.  An object file says nothing about itself: what of it may be believed is in
// the catalog.
#pragma once

#include <array>
#include <atomic>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/descriptor_limit.h"
#include "base/error.h"
#include "base/ids.h"
#include "io/disk.h"

namespace larder::object {

class Objects {
 public:
  // Makes the top directory.  The disk outlives the Objects, and so does the limit if there is one;
  // each open object takes one of its descriptors, which can be closed and opened again.
  static Result<std::unique_ptr<Objects>> open(io::Disk& disk, DescriptorLimit* limit = nullptr);

  // create() and open() fail with kNoDescriptors at the limit.
  // A new, empty file of `size_bytes` (all hole).  kExists when the id was used before.
  Result<std::shared_ptr<io::File>> create(ObjectId object, uint64_t size_bytes);
  // kNotFound when it is gone.
  Result<std::shared_ptr<io::File>> open(ObjectId object);
  // Without opening it.
  Result<io::FileInfo> info(ObjectId object);
  // Its space is freed when the last open File of it goes.  A missing object is no error.
  Result<void> remove(ObjectId object);

  // One object to make durable: its data and its name.
  struct Dirty {
    ObjectId object;
    std::shared_ptr<io::File> file = {};  // null: it is opened here if need be
  };
  // Returns once the bytes written before the call, and the files' names, are durable.  A few
  // objects are synced one by one, many with one syncfs.  Those that are gone are passed over.
  Result<void> sync(std::span<const Dirty> objects);

  // --- names on the disk
  static constexpr const char* kTop = "objects";
  static constexpr size_t kDirectories = 256;
  static std::string path(ObjectId object);
  static std::string directory(size_t number);
  // The highest of those that are there; none: there is none.  Lists all directories.
  static Result<ObjectId> last(io::Disk& disk);
  static size_t directory_number(ObjectId object) { return object.value % kDirectories; }
  // nullopt: an object has no such name in that directory.
  static std::optional<ObjectId> object_of(size_t directory, std::string_view name);
  static bool is_directory_name(std::string_view name);

 private:
  Objects(io::Disk& disk, DescriptorLimit* limit) : disk_(disk), limit_(limit) {}
  Result<std::shared_ptr<io::File>> open_counted(ObjectId object, io::OpenMode mode);

  io::Disk& disk_;
  DescriptorLimit* const limit_;  // null: none
  std::array<std::atomic<bool>, kDirectories> directory_made_{};
};

}  // namespace larder::object
