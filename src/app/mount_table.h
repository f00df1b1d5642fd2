// The mounts of this mount namespace, as /proc/self/mountinfo lists them.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace larder::app {

inline constexpr std::string_view kFileSystemType = "fuse.larder";

struct MountEntry {
  std::string mountpoint;  // decoded, without a trailing slash (except "/")
  std::string type;
  std::string source;
  std::string device = {};   // major:minor
  std::string options = {};  // of the mount point: "rw,nosuid,relatime"
  bool is_larder() const { return type == kFileSystemType; }
};

// Space, tab, newline and backslash are \ooo in mount tables and in fstab.
std::string decode_octal(std::string_view text);

// In mount order: of several mounts on one place the last one is seen.  See proc_pid_mountinfo(5).
std::vector<MountEntry> parse_mountinfo(std::string_view text);
Result<std::vector<MountEntry>> read_mount_table();

// What is mounted exactly at this absolute path.
std::optional<MountEntry> find_mount(const std::vector<MountEntry>& table, std::string_view path);
// The mount this absolute path lies on.
std::optional<MountEntry> find_mount_of(const std::vector<MountEntry>& table,
                                        std::string_view path);

// True when path is directory or lies beneath it; both absolute and without "..".
bool is_within(std::string_view path, std::string_view directory);

// Absolute and without symlinks, "." or "..".  A mount point itself is not touched, only what leads
// to it: works also where the mount is dead or hangs.
Result<std::string> resolve_mountpoint(const std::string& path);

// The larder mount that shows `path`, or a one-line error in detail().
Result<MountEntry> larder_mount_of(const std::string& path);

}  // namespace larder::app
