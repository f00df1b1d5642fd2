// The root directory of the source.  Blocking.  Thread-safe.
//
// The root is known by its path, the type of its file system and whether it is a mount point.  When
// it is lost (a dead or unmounted file system, a removed directory) it is opened again by path, but
// only what looks like the same source is taken: the bare directory under an unmounted one is not,
// it would make all files look deleted.
//
// Invariant: a replaced attachment lives, with its descriptor, as long as a call uses it or a
// directory that was opened beneath it is open.
#pragma once

#include <sys/types.h>

#include <memory>
#include <string>

#include "base/error.h"
#include "base/mutex.h"
#include "source/source.h"
#include "source/unique_fd.h"

namespace larder::source {

// Of a file system of this type (statfs f_type).
InodeNumbers inode_numbers_of(uint64_t type);

// Whether files of such a file system have sizes that say nothing of their content.
bool type_makes_up_sizes(uint64_t type);

// Whether a directory there gets another mtime or ctime with each change of its entries, whoever
// makes it.
bool type_keeps_directory_times(uint64_t type);

class Root {
 public:
  // The root is not touched before attach().
  explicit Root(std::string path) : path_(std::move(path)) {}

  // Opens the root by path.  kSourceDown when what is there now is not the source seen first.
  Result<void> attach();
  // Asks the source for a sign of life; attaches again when the root was lost.
  Result<void> probe();

  struct Attached;
  using AttachmentPtr = std::shared_ptr<const Attached>;
  // Null before the first attach().
  AttachmentPtr attachment() const;
  // O_PATH; the attachment's own.
  static int descriptor(const Attached& attached);

  // Turns errors that come from the loss of the root into kSourceDown, so that nobody takes the
  // ENOENT of a removed root for that of a removed file.
  Error explain(Error error) const;

  InodeNumbers inode_numbers() const;
  bool directory_times_are_kept() const;
  bool makes_up_sizes() const;
  bool is_fuse() const;
  // What tells a file from all others beneath the root: its inode number, as long as it is on the
  // root's own device.  Elsewhere (a file system mounted beneath, a Btrfs subvolume) numbers may
  // repeat, and those of devices are not stable: 0 where numbers are relied on, else a mixture of
  // both.
  uint64_t file_number(uint64_t inode, dev_t device) const;
  // Whether the numbers that this directory's entries are listed with are those of file_number():
  // FUSE lists whatever the daemon likes, and there may be another file system here.
  bool numbers_entries(int directory) const;
  const std::string& path() const { return path_; }

 private:
  struct Identity {
    uint64_t type = 0;
    bool is_mount_root = false;
    bool counts_links = false;  // some FUSE file systems say nlink 0 of everything
    bool operator==(const Identity&) const = default;
  };
  static Result<Attached> open_root(const std::string& path);
  bool is_lost(const Attached& root, int statx_flags) const;

  const std::string path_;
  mutable Mutex mutex_;
  AttachmentPtr attached_ GUARDED_BY(mutex_);
  bool was_down_ GUARDED_BY(mutex_) = false;  // an attach() failed
};

}  // namespace larder::source
