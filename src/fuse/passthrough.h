// Kernel passthrough (Linux 6.9+): the kernel reads an open file's object itself.
//
// Two ways behind one interface, chosen when larder is built: libfuse 3.17 and later know
// passthrough; for older ones the INIT exchange is completed on its way through custom I/O
// functions, and the replies to OPEN and CREATE are built here.  Thread-safe once the session is
// mounted.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "base/error.h"
#include "fuse/libfuse.h"

namespace larder::fuse {

struct OpenMode {
  uint64_t handle = 0;
  int32_t backing_id = 0;  // > 0: passthrough; excludes keep_cache
  bool keep_cache = false;
  bool direct_io = false;
};

class Passthrough {
 public:
  explicit Passthrough(bool wanted) : wanted_(wanted) {}

  // After fuse_session_mount().  `custom_io` calls find this object through `Passthrough*
  // of(userdata)`.
  Result<void> attach(fuse_session* session);
  // In the init operation.
  void negotiate(fuse_conn_info& connection);
  bool available() const { return active_.load() && !refused_.load(); }

  Result<int32_t> open_backing(int fd);
  void close_backing(int32_t backing_id);

  static int reply_open(fuse_req_t request, const fuse_file_info& info, const OpenMode& mode);
  static int reply_create(fuse_req_t request, const fuse_entry_param& entry,
                          const fuse_file_info& info, const OpenMode& mode);

 private:
  friend struct InitExchange;
  const bool wanted_;
  int device_fd_ = -1;
  // The INIT request being answered; 0 when it has been, or was not seen.
  std::atomic<uint64_t> init_unique_{0};
  std::atomic<bool> offered_{false};
  std::atomic<bool> parallel_directories_{
      false};                               // the kernel can look up in one directory concurrently
  std::atomic<bool> leaves_set_id_{false};  // the kernel can leave set-id bits to us
  std::atomic<bool> active_{false};
  // Not permitted, or the cache's file system is stacked too deep: not asked again.
  std::atomic<bool> refused_{false};
};

// The object behind a session's userdata; adapter.cc defines it.
Passthrough& passthrough_of(void* userdata);

}  // namespace larder::fuse
