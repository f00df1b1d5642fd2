// Where something is at the source: an open directory and one name in it.
//
// The directory is held by a descriptor, which goes along with it wherever it or a directory above
// it is moved; so a call for a place is carried out in that directory and no other.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

namespace larder::source {

// An open directory of the source.  Shared: the last owner closes it, on a worker thread.
// Thread-safe.
class Directory {
 public:
  virtual ~Directory() = default;
  // As Attributes::inode has it; while the directory is open no other has the same.  0: not known.
  virtual uint64_t number() const = 0;
  // False once the root it was opened beneath was lost and another opened: calls then fail with
  // kSourceDown, and the directory is to be opened anew.
  virtual bool is_current() const = 0;
};
using DirectoryPtr = std::shared_ptr<const Directory>;

struct Place {
  DirectoryPtr directory;
  std::string name;  // one component; empty: the directory itself
  // The inode number of the file it has to be; 0: whatever is there.  Calls that change a file, or
  // read what belongs to it, answer kStale when it is another.
  uint64_t number = 0;
};

}  // namespace larder::source
