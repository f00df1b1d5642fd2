#include "app/mount.h"

namespace larder::app {

Result<std::unique_ptr<Mount>> Mount::start(const MountRequest& request) {
  return fail(Code::kNotSupported, "mounting " + request.source);
}

}  // namespace larder::app
