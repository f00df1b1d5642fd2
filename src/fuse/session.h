// One mount: the connection to the kernel, the threads that serve it, its beginning and its end.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "base/error.h"
#include "base/metrics.h"
#include "base/mutex.h"
#include "buffer/pool.h"
#include "fs/file_system.h"
#include "fs/kernel_port.h"
#include "fs/virtual_files.h"

struct fuse_session;

namespace larder::fuse {

struct SessionOptions {
  std::string source_name{};  // the first column of the mount table
  std::string mountpoint{};   // an existing directory, absolute and without links
  bool allow_other = false;
  bool read_only = false;
  // Of mount(8), as libfuse knows them: "nosuid", "noatime" ...
  std::vector<std::string> mount_flags{};
  bool passthrough = true;  // where kernel and privileges allow it
  uint32_t workers = 4;     // threads; at least 1
  // How long a stop waits for those who use the mount before it is torn off.
  Nanos busy_timeout = std::chrono::seconds(5);
  size_t readahead_bytes = 0;  // the kernel's; 0 leaves its default (128 KiB).  Needs root.
  // Called by a worker for each request that it has received; must not wait.
  std::function<void()> on_request = [] {};
};

// Thread-safe, except that serve() is called once.
class Session final : public fs::KernelPort {
 public:
  // Mounts and calls files.attach().  Nothing is answered before serve().  The virtual directory
  // may be null. All arguments must outlive the session; the reactors behind `files` must run until
  // it is destroyed.
  static Result<std::unique_ptr<Session>> mount(const SessionOptions& options,
                                                fs::FileSystem& files,
                                                const fs::VirtualDirectory* virtual_directory,
                                                buffer::Pool& pool, Registry& registry,
                                                const Clock& clock);
  // Unmounts, if end() has not.
  ~Session() override;

  // Serves until unmounted (by anybody), aborted or stopped; then the mount is gone from the tree,
  // all threads have ended and no request is under way.  That takes as long as the slowest request
  // of the source.
  Result<void> serve();
  // Makes serve() unmount and return.  Does not wait.
  void stop();
  // When serve() has returned or was never called: unmounts, unless that is done.  What is asked of
  // the kernel from now on means nothing, and may be asked until the session is destroyed.
  void end();

  bool passthrough_available() const override;
  Result<int32_t> open_backing(int fd) override;
  void close_backing(int32_t backing_id) override;
  void invalidate_node(fs::KernelId node, std::function<void()> then = {}) override;
  void invalidate_attributes(fs::KernelId node) override;
  void expire_entry(fs::KernelId parent, std::string name) override;
  void expire_all_entries() override;

 private:
  struct Parts;  // what needs libfuse's types
  explicit Session(const SessionOptions& options, const Clock& clock);

  void work();
  void take_down();
  // Whether all workers have ended in time.
  bool wait_for_workers(Nanos timeout);
  void kick_workers();
  void finish();

  const SessionOptions options_;
  const Clock& clock_;
  std::unique_ptr<Parts> parts_;
  std::vector<std::thread> workers_;
  bool ended_ = false;

  Mutex mutex_;
  CondVar changed_;
  uint32_t working_ GUARDED_BY(mutex_) = 0;
  bool stop_ GUARDED_BY(mutex_) = false;
  int error_ GUARDED_BY(mutex_) = 0;
};

}  // namespace larder::fuse
