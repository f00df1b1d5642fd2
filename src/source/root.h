// The root directory of the source and the way to everything beneath it.  Blocking.  Thread-safe.
//
// Resolution is the kernel's (openat2(2), Linux 5.6): RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS |
// RESOLVE_NO_MAGICLINKS relative to the root's descriptor.  Paths longer than PATH_MAX are walked
// in pieces, each beneath the one before; as no component may be "..", "beneath a piece" is
// "beneath the root".
//
// The root is known by its path, the type of its file system and whether it is a mount point.  When
// it is lost (a dead or unmounted file system, a removed directory) it is opened again by path, but
// only what looks like the same source is taken: the bare directory under an unmounted one is not,
// it would make all files look deleted.
//
// Invariant: a call uses one root descriptor from beginning to end; a replaced one is closed with
// the last call that uses it.
#pragma once

#include <sys/types.h>

#include <memory>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/mutex.h"
#include "source/unique_fd.h"

namespace larder::source {

// Whether a file system of this type (statfs f_type) keeps inode numbers over a remount.
bool type_has_stable_inodes(uint64_t type);

class Root {
 public:
  // The root is not touched before attach().
  explicit Root(std::string path) : path_(std::move(path)) {}

  // Opens the root by path.  kSourceDown when what is there now is not the source seen first.
  Result<void> attach();
  // Asks the source for a sign of life; attaches again when the root was lost.
  Result<void> probe();

  // Opens what is at the path beneath the root; a symlink is opened itself with O_PATH, else ELOOP.
  Result<UniqueFd> open(std::string_view path, int flags) const;
  // An O_PATH descriptor of the file, directory, symlink ... itself.
  Result<UniqueFd> node(std::string_view path) const;

  struct Parent {
    UniqueFd directory;  // O_PATH
    std::string name;    // one component
  };
  // The directory that holds the path's last component, which need not exist.  "" gives EBUSY.
  Result<Parent> parent(std::string_view path) const;

  // Turns errors that come from the loss of the root into kSourceDown, so that nobody takes the
  // ENOENT of a removed root for that of a removed file.
  Error explain(Error error) const;

  bool inodes_are_stable() const;
  // What tells a file from all others beneath the root: its inode number, as long as it is on the
  // root's own device.  Elsewhere (a file system mounted beneath, a Btrfs subvolume) numbers may
  // repeat, and those of devices are not stable: 0 where inodes_are_stable(), else a mixture of
  // both.
  uint64_t file_number(uint64_t inode, dev_t device) const;
  const std::string& path() const { return path_; }

 private:
  struct Identity {
    uint64_t type = 0;
    bool is_mount_root = false;
    bool counts_links = false;  // some FUSE file systems say nlink 0 of everything
    bool operator==(const Identity&) const = default;
  };
  struct Attached {
    UniqueFd directory;  // O_PATH
    Identity identity;
    dev_t device = 0;
  };
  static Result<Attached> open_root(const std::string& path);
  std::shared_ptr<const Attached> attached() const;
  bool is_lost(const Attached& root, int statx_flags) const;

  const std::string path_;
  mutable Mutex mutex_;
  std::shared_ptr<const Attached> attached_ GUARDED_BY(mutex_);
  bool was_down_ GUARDED_BY(mutex_) = false;  // an attach() failed
};

}  // namespace larder::source
