// A FakeFileSystem served by a Session on a real mount under a temporary directory; gone at the end
// of the scope whatever happened.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "buffer/pool.h"
#include "fuse/session.h"
#include "io/reactor.h"
#include "support/fake_file_system.h"

namespace larder::testing {

class FuseMount {
 public:
  // Why there can be no mount here; empty when there can.
  static std::string missing();

  explicit FuseMount(const fs::VirtualDirectory* virtual_directory = nullptr,
                     fuse::SessionOptions options = {}, size_t pool_bytes = 64 << 20);
  ~FuseMount();
  FuseMount(const FuseMount&) = delete;
  FuseMount& operator=(const FuseMount&) = delete;

  FakeFileSystem& files() { return *files_; }
  fuse::Session& session() { return *session_; }
  Registry& registry() { return registry_; }
  buffer::Pool& pool() { return *pool_; }
  const std::string& root() const { return mountpoint_; }
  std::string path(const std::string& name) const { return mountpoint_ + "/" + name; }
  // A place on the local disk, outside the mount.
  std::string outside(const std::string& name) const { return directory_ + "/" + name; }
  bool in_mount_table() const;
  // Whether serve() has returned.
  bool served() const { return served_.load(); }
  void wait_served();
  // Stops, waits, and destroys the session.
  void end();

 private:
  std::string directory_;
  std::string mountpoint_;
  Registry registry_;
  std::unique_ptr<buffer::Pool> pool_;
  std::unique_ptr<io::Reactor> reactor_;
  std::unique_ptr<FakeFileSystem> files_;
  std::unique_ptr<fuse::Session> session_;
  std::atomic<bool> served_{false};
  std::thread server_;
};

// Waits until condition() holds; false when it did not within a minute.
bool eventually(const std::function<bool()>& condition);

}  // namespace larder::testing
