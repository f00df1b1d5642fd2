// The configuration of a mount: from an INI file and -o, through the table of keys (app/keys.h).
//
// Order of precedence, weakest first: the table's defaults, the group of defaults that profile=
// selects, the INI file, -o; within one of them the later setting wins.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "app/mount_flags.h"
#include "app/values.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "cache/rules.h"

namespace larder::app {

enum class Profile { kPrivate, kShared, kImmutable };
enum class IoChoice { kAuto, kUring, kThreads };
enum class Passthrough { kAuto, kOff };

// What a key was set to, and where: "default", "profile=private", "-o", "/etc/larder.ini:3".
struct Setting {
  std::string key;
  std::string value;
  std::string origin;
  std::string rule =
      {};  // the pattern of the [rule PATTERN] it stands in; begun by one without key
};

// Plain data; valid by construction (make_config).
struct Config {
  std::string cache_dir;  // empty: one per source beneath the user's cache directory
  SizeLimit size;
  SizeLimit inodes;    // a number of files, or a share of the disk's
  SizeLimit min_free;  // of the disk
  uint64_t memory_bytes = 0;
  uint64_t block_size_bytes = 0;
  std::string policy;  // a name that evict/registry.h knows
  Nanos ttl{0};        // 0: files do not expire
  Profile profile = Profile::kShared;
  Nanos attr_ttl{0};
  Nanos negative_ttl{0};
  uint64_t readahead_bytes = 0;
  IoChoice io = IoChoice::kAuto;
  Passthrough passthrough = Passthrough::kAuto;
  Nanos source_timeout{0};
  Nanos source_patience{0};
  uint32_t source_threads = 0;
  uint32_t descriptors = 0;  // open in the process at once; 0: as many as it may have
  Nanos commit_interval{0};
  uint64_t scrub_bytes_per_second = 0;  // 0: off
  Nanos forget_after{0};                // 0: never
  uint32_t compact_at_percent = 0;
  uint32_t threads = 0;  // FUSE workers; 0: as many as there are processors
  bool read_only = false;
  bool allow_other = false;
  bool nonempty = false;
  std::string control_dir;
  log::Level log_level = log::Level::kInfo;
  std::string log_file;  // empty: syslog, or stderr in the foreground
  KernelFlags kernel_flags;
  cache::Rules rules;  // of the INI file's [rule PATTERN] sections

  // One per key of the table, in its order: the effective value and its origin.
  std::vector<Setting> effective;
  std::vector<Setting> rule_settings;  // what rules were made of
};

// Splits "key=value,flag,key=a\,b".  A backslash takes the next character as it is.  Flags that
// only mount(8) and fstab care about are dropped.  Errors (kInvalid) are one line in detail().
Result<std::vector<Setting>> parse_options(std::string_view text);

// Reads an INI file.  Keys stand before any section or in [mount], rules in [rule PATTERN]; there
// are no other sections.  Errors name the file and the line.
Result<std::vector<Setting>> read_ini_file(const std::string& path);
Result<std::vector<Setting>> parse_ini(std::string_view text, const std::string& name);

// Errors name key, value, what is accepted, and where it was set.
Result<Config> make_config(const std::vector<Setting>& settings);

// The effective configuration as an INI file with each value's origin; parse_ini takes it back.
std::string render_config(const Config& config);

}  // namespace larder::app
