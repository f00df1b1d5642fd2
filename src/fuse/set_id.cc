#include "fuse/set_id.h"

#include <linux/capability.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <optional>
#include <string>
#include <string_view>

#include "fs/set_id.h"

namespace larder::fuse {
namespace {

// As far as it can be seen: most have it.
bool has_fsetid(pid_t process) {
  std::ifstream status("/proc/" + std::to_string(process) + "/status");
  // By lines: the process may have taken a name with this word in it.
  constexpr std::string_view kEffective = "CapEff:";
  for (std::string line; std::getline(status, line);)
    if (line.starts_with(kEffective))
      return (std::strtoull(line.c_str() + kEffective.size(), nullptr, 16) >> CAP_FSETID & 1) != 0;
  return true;
}

}  // namespace

bool takes_set_id() {
  return ::geteuid() == 0;
}

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
  const std::optional<Attributes> file = adapter.files.last_seen(id);
  if (!file || !fs::has_set_id(*file) || !takes_set_id()) return 0;
  const fuse_ctx* caller = fuse_req_ctx(request);
  if (caller->uid == 0 && has_fsetid(caller->pid)) return 0;
  return fs::lost_set_id(*file, credentials_of(request));
}

uint32_t lost_by_setting_nothing(fuse_req_t request, Adapter& adapter, fs::KernelId id) {
  const std::optional<Attributes> file = adapter.files.last_seen(id);
  if (!file || !fs::has_set_id(*file) || !takes_set_id()) return 0;
  const fuse_ctx* caller = fuse_req_ctx(request);
  if (caller->uid == 0 && has_fsetid(caller->pid))
    return fs::lost_set_id(*file, {.gid = file->gid});  // as a member
  if (caller->uid != 0 && caller->uid != file->uid) return 0;
  return fs::lost_set_id(*file, credentials_of(request));
}

void take_set_id(fs::AttributeChange& change, uint32_t bits) {
  change.cleared_permissions = bits;
  if (change.permissions) *change.permissions &= ~bits;
}

}  // namespace larder::fuse
