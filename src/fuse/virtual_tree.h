// The control directory: a directory of virtual files in the mount's root, answered on the worker,
// so that it works while the source hangs.
//
// Hidden from listings of the root; only the mount's owner and root may use it, which is checked
// here as well as by the modes because allow_other mounts exist.  A file's content is made when it
// is opened.  What is written goes to the file's write function, one call for each write(2); the
// replies queue up on the handle, and from the first write on its reads take from that queue
// whatever their offset.  Thread-safe.
#pragma once

#include <memory>
#include <string>
#include <unordered_map>

#include "base/clock.h"
#include "base/mutex.h"
#include "fs/kernel_port.h"
#include "fs/virtual_files.h"
#include "fuse/libfuse.h"

namespace larder::fuse {

class VirtualTree {
 public:
  // `directory` may be null: then there is none.
  VirtualTree(const fs::VirtualDirectory* directory, uid_t owner, gid_t group, const Clock& clock);

  static bool owns(fuse_ino_t id) { return fs::KernelId{id}.epoch() == fs::kVirtualEpoch; }
  // Whether this is the control directory's name.
  bool is_entry(fuse_ino_t parent, std::string_view name) const {
    return directory_ != nullptr && parent == FUSE_ROOT_ID && name == directory_->name();
  }

  // Each replies.
  void lookup(fuse_req_t request, fuse_ino_t parent, std::string_view name) const;
  void attributes(fuse_req_t request, fuse_ino_t id) const;
  // Truncation is accepted and means nothing; the rest is refused.
  void set_attributes(fuse_req_t request, fuse_ino_t id, int to_set) const;
  void open(fuse_req_t request, fuse_ino_t id, const fuse_file_info& info);
  void read(fuse_req_t request, uint64_t handle, uint64_t offset, size_t length);
  void write(fuse_req_t request, fuse_ino_t id, uint64_t handle, std::string_view data);
  void release(fuse_req_t request, uint64_t handle);
  void open_directory(fuse_req_t request, const fuse_file_info& info) const;
  void read_directory(fuse_req_t request, fuse_ino_t id, uint64_t offset, size_t length,
                      bool plus) const;

 private:
  struct Open {
    explicit Open(const fs::VirtualFile& of) : file(of) {}
    const fs::VirtualFile& file;
    Mutex mutex;
    std::string content GUARDED_BY(mutex);
    bool written GUARDED_BY(mutex) = false;
  };
  static constexpr size_t kOpenMax = 4096;
  static constexpr uint64_t kDirectoryNode = 1;

  static fuse_ino_t id_of(uint64_t number) {
    return fs::KernelId::make(kDirectoryNode + number, fs::kVirtualEpoch).value;
  }
  // Null for the directory and for what does not exist.
  const fs::VirtualFile* file(fuse_ino_t id) const;
  fuse_entry_param entry(fuse_ino_t id) const;
  bool permitted(fuse_req_t request) const;
  std::shared_ptr<Open> find(uint64_t handle);

  const fs::VirtualDirectory* const directory_;
  const uid_t owner_;
  const gid_t group_;
  const timespec born_;
  Mutex mutex_;
  std::unordered_map<uint64_t, std::shared_ptr<Open>> open_ GUARDED_BY(mutex_);
  uint64_t next_handle_ GUARDED_BY(mutex_) = 1;
};

}  // namespace larder::fuse
