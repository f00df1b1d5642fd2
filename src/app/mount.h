// The composition root: builds all modules for one mount, wires them together and serves.
#pragma once

#include <memory>
#include <string>

#include "app/config.h"
#include "base/error.h"

namespace larder::app {

struct MountRequest {
  Config config;           // cache_dir is set and the directory exists
  std::string source;      // absolute, without symlinks
  std::string mountpoint;  // likewise
};

// One mount.  start() has mounted when it returns; run() answers requests until it is unmounted, by
// request_stop() or from outside.  request_stop() may be called on any thread, also more than once.
class Mount {
 public:
  // An error's detail() is one line that says what to do.
  static Result<std::unique_ptr<Mount>> start(const MountRequest& request);
  virtual ~Mount() = default;
  virtual Result<void> run() = 0;
  virtual void request_stop() noexcept = 0;
};

}  // namespace larder::app
