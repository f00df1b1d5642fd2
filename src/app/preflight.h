// What is checked before anything is started, so that a mistake is one clear line on the terminal.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "app/config.h"
#include "app/mount_table.h"
#include "base/error.h"

namespace larder::app {

// What the checks look at besides their arguments; a test gives its own.
struct Surroundings {
  uid_t uid = 0;
  std::string home;            // $HOME
  std::string xdg_cache_home;  // $XDG_CACHE_HOME
  std::string system_cache = "/var/cache";
  std::string fuse_device = "/dev/fuse";
  std::string fuse_conf = "/etc/fuse.conf";
  std::string fstab = "/etc/fstab";
  std::string search_path;  // $PATH, for fusermount3
  std::vector<MountEntry> mounts;

  static Result<Surroundings> of_this_process();
};

struct CheckedPaths {
  std::string source;      // realpath
  std::string mountpoint;  // realpath
  std::string cache_dir;   // realpath, exists and is writable
  // What the user should know though nothing is wrong, a line each.
  std::vector<std::string> notes = {};
};

// Checks everything and creates the cache directory (0700) as its last step.  Errors are one line
// in detail() that says what to do.
Result<CheckedPaths> preflight(const Config& config, const std::string& source,
                               const std::string& mountpoint, const Surroundings& surroundings);

// <cache home>/larder/<last name of the source>-<hash of its whole path>.
std::string default_cache_dir(const std::string& source_realpath, const Surroundings& surroundings);

}  // namespace larder::app
