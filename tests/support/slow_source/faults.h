// What makes the slow source slow and faulty, and its counts.  All settings change at run time, and
// a change reaches the requests that are waiting, too.
//
//   latency_ms=N            each request waits so long (in parallel with others)
//   bandwidth_mb_s=N        all data of reads and writes share one link of N * 10^6 bytes a second;
//   0: no limit hang=0|1                requests wait until hang=0 (or down, or the end)
//   down=0|1|ERRNO          every request fails at once, with ENOTCONN or the given error
//   fail=KIND:ERRNO[:COUNT[:AFTER]]   after AFTER (0) requests of KIND (or "any") have passed, the
//   next COUNT (1;
//                           "*": all) fail; rules add up; an empty value removes all of them
//   kill=PID[:KIND[:AFTER]] after AFTER (0) requests of KIND (or "any", as without one) have come,
//   the next one
//                           ends that process with SIGKILL and then goes on; an empty value: does
//                           not
//   direct_io=0|1           1 (at first): every read and write is a request; 0: the kernel caches
//   and reads ahead
//                           within one open
//   attr_ttl_ms=N           how long the kernel may keep attributes and names; 0 (at first): it
//   asks each time
#pragma once

#include <sys/types.h>

#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace larder::slow_source {

enum class Kind {
  kLookup,
  kGetattr,
  kSetattr,
  kReadlink,
  kMknod,
  kMkdir,
  kUnlink,
  kRmdir,
  kSymlink,
  kRename,
  kLink,
  kOpen,
  kRead,
  kWrite,
  kFlush,
  kRelease,
  kFsync,
  kOpendir,
  kReaddir,
  kReleasedir,
  kFsyncdir,
  kStatfs,
  kSetxattr,
  kGetxattr,
  kListxattr,
  kRemovexattr,
  kCreate,
  kFallocate,
  kCopyFileRange,
  kLseek,
};
inline constexpr std::array<std::string_view, 30> kKindNames = {
    "lookup",      "getattr", "setattr",   "readlink",        "mknod",
    "mkdir",       "unlink",  "rmdir",     "symlink",         "rename",
    "link",        "open",    "read",      "write",           "flush",
    "release",     "fsync",   "opendir",   "readdir",         "releasedir",
    "fsyncdir",    "statfs",  "setxattr",  "getxattr",        "listxattr",
    "removexattr", "create",  "fallocate", "copy_file_range", "lseek",
};
static_assert(static_cast<size_t>(Kind::kLseek) + 1 == kKindNames.size());

// Thread-safe.
class Faults {
 public:
  // Empty, or what is wrong with the setting.
  std::string set(std::string_view key, std::string_view value);
  // Counts the request and waits as the settings say; 0, or the errno it has to fail with.
  int enter(Kind kind);
  // Counts a request that nobody waits for and that cannot fail.
  void count(Kind kind) { requests_[static_cast<size_t>(kind)].fetch_add(1); }
  // Waits until the link has carried the bytes.
  void transfer(size_t bytes);
  bool direct_io() const { return direct_io_.load(); }
  double attr_ttl_s() const { return static_cast<double>(attr_ttl_ms_.load()) / 1000; }

  // "KIND=N" for each kind, "total=N", and "hung=N": requests that wait for hang=0 now; one a line.
  std::string counts() const;
  void reset_counts();
  // Nobody waits from here on.
  void stop();

 private:
  struct Rule {
    int kind;  // -1: any
    int error;
    uint64_t count;
    uint64_t after;
  };
  struct KillRule {
    pid_t pid;
    int kind;  // -1: any
    uint64_t after;
  };
  int injected(Kind kind);
  void kill_if_due(Kind kind);
  std::string set_kill(std::string_view text);
  std::string add_rule(std::string_view text);
  bool must_go() const { return stopping_ || down_ != 0; }

  std::array<std::atomic<uint64_t>, kKindNames.size()> requests_{};
  std::atomic<bool> direct_io_{true};
  std::atomic<uint64_t> attr_ttl_ms_{0};

  mutable std::mutex mutex_;  // guards what follows
  std::condition_variable changed_;
  std::chrono::milliseconds latency_{0};
  uint64_t bandwidth_mb_s_ = 0;
  std::chrono::steady_clock::time_point link_free_at_{};
  bool hang_ = false;
  int down_ = 0;
  bool stopping_ = false;
  uint64_t hung_ = 0;
  std::vector<Rule> rules_;
  std::optional<KillRule> kill_;
};

}  // namespace larder::slow_source
