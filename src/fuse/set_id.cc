#include "fuse/set_id.h"

#include <unistd.h>

#include <algorithm>
#include <optional>

#include "fs/set_id.h"

namespace larder::fuse {

Credentials credentials_of(fuse_req_t request) {
  const fuse_ctx* caller = fuse_req_ctx(request);
  Credentials credentials{.uid = caller->uid, .gid = caller->gid};
  if (const int count = fuse_req_getgroups(request, 0, nullptr); count > 0) {
    credentials.groups.resize(static_cast<size_t>(count));
    const int got = fuse_req_getgroups(request, count, credentials.groups.data());
    credentials.groups.resize(static_cast<size_t>(std::clamp(got, 0, count)));
  }
  return credentials;
}

uint32_t lost_set_id(fuse_req_t request, Adapter& adapter, fs::KernelId id) {
  if (fuse_req_ctx(request)->uid == 0) return 0;
  const std::optional<Attributes> file = adapter.files.last_seen(id);
  if (!file || !fs::has_set_id(*file) || ::geteuid() != 0) return 0;
  return fs::lost_set_id(*file, credentials_of(request));
}

void take_set_id(fs::AttributeChange& change, uint32_t bits) {
  change.cleared_permissions = bits;
  if (change.permissions) *change.permissions &= ~bits;
}

}  // namespace larder::fuse
