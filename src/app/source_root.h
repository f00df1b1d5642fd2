// The directory under a file system that is not mounted looks like a source whose files were all
// deleted.  So the cache directory remembers what the source's root was, and an empty directory
// that cannot be it is not taken for it.
//
// What is compared is what stays over a remount: the type of the file system, its own id where that
// comes from the disk, and whether the root is a mount point.  Device numbers change (NFS, sshfs, a
// disk under another name), and so do inode numbers of a directory that is made anew.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"
#include "io/disk.h"

namespace larder::app {

struct RootIdentity {
  uint64_t type = 0;            // statfs f_type
  uint64_t file_system_id = 0;  // statfs f_fsid where it is made of the file system's UUID, else 0
  bool is_mount_point = false;
  bool operator==(const RootIdentity&) const = default;
};

// One line of text, and back; nullopt when it is not such a line.
std::string format_root(const RootIdentity& root);
std::optional<RootIdentity> parse_root(std::string_view text);

// Whether a directory that is `now` can be what is left where the source, `before`, is not mounted.
bool may_be_uncovered(const RootIdentity& before, const RootIdentity& now);

Result<RootIdentity> identify_root(const std::string& path);

// Refuses with one line that says what to do when `source` is an empty directory that may be
// uncovered, by what the cache directory `path` remembers.  Changes nothing there.  A source that
// does not answer is left to those who ask it later.
Result<void> check_source_root(io::Disk& disk, const std::string& source, const std::string& path);
// Remembers what the source's root is now.
Result<void> remember_source_root(io::Disk& disk, const std::string& source);

}  // namespace larder::app
