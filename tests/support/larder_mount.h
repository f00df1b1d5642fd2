// A larder mount for a test: the real program over any source, with a cache directory of its own,
// mounted for as long as this lives.
//
//   LarderMount mount(source.mountpoint(), {"attr_ttl=0", "passthrough=off"});
//   ASSERT_TRUE(mount.mounted()) << mount.problem();
//   read_file(mount.at("a"));
//   EXPECT_EQ(mount.metric("/read/misses"), 1);
//   mount.stop();    // SIGTERM, and waits for its end
//   mount.start();   // on the same cache directory
//
// The destructor ends it also when requests hang.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "support/command.h"

namespace larder::testing_support {

// Not thread-safe, except at(), stats() and metric().  The thread that starts it must outlive it:
// the program ends with that thread.
class LarderMount {
 public:
  // The program under test; LARDER_PROGRAM in the environment names it.
  static std::string program();
  // Empty, or why it cannot be mounted here: the reason to give to GTEST_SKIP.
  static std::string why_unavailable();

  // `options`: KEY=VALUE as for -o; with cache_dir= among them that one is used, and stays.
  // Mounts at once.
  explicit LarderMount(std::string source, std::vector<std::string> options = {},
                       CommandOptions as = {});
  ~LarderMount();
  LarderMount(const LarderMount&) = delete;
  LarderMount& operator=(const LarderMount&) = delete;

  bool mounted() const { return child_ > 0 && problem_.empty(); }
  // Why it is not mounted, with what it said.
  const std::string& problem() const { return problem_; }
  // What the program has said on stderr so far.
  std::string log() const;
  const std::string& source() const { return source_; }
  const std::string& mountpoint() const { return mountpoint_; }
  const std::string& cache_dir() const { return cache_dir_; }
  std::string at(const std::string& name) const { return mountpoint_ + "/" + name; }
  pid_t pid() const { return child_; }
  void set_options(std::vector<std::string> options) { options_ = std::move(options); }

  // Mounts with the same options on the same cache directory.
  bool start();
  // Sends the signal and waits for the end; the exit code, or -1 when it was not a clean exit.
  int stop(int signal);
  int stop();
  // SIGKILL; clears the mount point.
  void kill();
  // Waits for its end, which something else brings about, and leaves the mount point as it is: the
  // signal that ended it, 0 for an end of its own, -1 when it does not end.
  int await_end();
  // Every request that waits fails from here on: the last resort of a test that hangs.
  void abort();

  nlohmann::json stats() const;
  // A number in stats().metrics by its JSON pointer, or the sum of those below it; 0 when the mount
  // does not answer.  There must be such a metric.
  int64_t metric(const std::string& pointer) const;
  // Waits until the condition holds; false when it does not within a generous time.
  static bool eventually(const std::function<bool()>& condition);
  // Runs it on a thread of its own and returns true when it ended in a generous time; else aborts
  // the mount, so that it ends, and returns false.
  bool completes(const std::function<void()>& action);

 private:
  void await_mount();

  std::string home_;  // holds the others
  std::string source_;
  std::string mountpoint_;
  std::string cache_dir_;
  std::string log_file_;
  std::vector<std::string> options_;
  CommandOptions as_;
  std::string problem_;
  pid_t child_ = -1;
};

}  // namespace larder::testing_support
