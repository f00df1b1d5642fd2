// A slow source for a test: the program slow-source over a temporary directory, mounted for as long
// as this lives.
//
//   SlowSourceMount source;                     // ASSERT_TRUE(source.mounted()) <<
//   source.problem(); source.set("latency_ms", "10"); read_file(source.mountpoint() + "/a");
//   EXPECT_EQ(source.requests("read"), 1);
//
// What the test does to directory() is a change from outside.  The destructor ends it also when
// requests hang.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

namespace larder::testing_support {

// Not thread-safe, except set(), requests() and hung().  The thread that makes it must outlive it:
// the program ends with that thread.
class SlowSourceMount {
 public:
  // Empty, or why FUSE cannot be used here: the reason to give to GTEST_SKIP.
  static std::string why_unavailable();

  // `program`: the path of slow-source.  `settings`: KEY=VALUE (slow_source/faults.h) and other
  // arguments; {"--subtype", "larder"} makes it look like a larder mount.
  explicit SlowSourceMount(const std::vector<std::string>& settings = {},
                           const std::string& program = default_program());
  ~SlowSourceMount();
  SlowSourceMount(const SlowSourceMount&) = delete;
  SlowSourceMount& operator=(const SlowSourceMount&) = delete;

  bool mounted() const { return problem_.empty(); }
  const std::string& problem() const { return problem_; }
  const std::string& directory() const { return directory_; }
  const std::string& mountpoint() const { return mountpoint_; }
  const std::string& control_socket() const { return socket_; }

  // In force when it returns.  False when the setting is not accepted.
  bool set(const std::string& key, const std::string& value);
  // Requests of a kind ("read", "lookup" ...; "total") since the start or reset_requests().
  uint64_t requests(const std::string& kind) const;
  void reset_requests();
  // Requests waiting for hang=0 now.
  uint64_t hung() const { return requests("hung"); }
  // Waits until at least `count` requests hang; false when they do not within a generous time.
  bool wait_hung(uint64_t count) const;
  // SIGKILL: the mount point is "not connected" from here on.
  void kill();

 private:
  static std::string default_program();
  void start(const std::vector<std::string>& settings, const std::string& program);
  bool wait_for_end(int timeout_ms);

  std::string home_;  // holds the others
  std::string directory_;
  std::string mountpoint_;
  std::string socket_;
  std::string problem_;
  pid_t child_ = -1;
};

}  // namespace larder::testing_support
