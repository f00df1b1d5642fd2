// Extended attributes.
#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "fuse/adapter.h"

namespace larder::fuse {
namespace {

using fs::KernelId;

// Room 0 asks for the length.
void reply_value(Responder& responder, size_t room, std::string_view value) {
  responder.send([&](fuse_req_t request) {
    if (room == 0) return fuse_reply_xattr(request, value.size());
    if (value.size() > room) return fuse_reply_err(request, ERANGE);
    return fuse_reply_buf(request, value.data(), value.size());
  });
}

// Whose they are matters to ACLs alone: root may keep a file's set-group-id bit, others only in
// groups they are in.
std::optional<Credentials> credentials_of(fuse_req_t request, std::string_view name) {
  const fuse_ctx* caller = fuse_req_ctx(request);
  if (name != "system.posix_acl_access" || caller->uid == 0) return std::nullopt;
  Credentials credentials{.uid = caller->uid, .gid = caller->gid};
  // From the caller's /proc, as far as it can be seen; without it he is in the one group.
  if (const int count = fuse_req_getgroups(request, 0, nullptr); count > 0) {
    credentials.groups.resize(static_cast<size_t>(count));
    const int got = fuse_req_getgroups(request, count, credentials.groups.data());
    credentials.groups.resize(static_cast<size_t>(std::clamp(got, 0, count)));
  }
  return credentials;
}

void setxattr(fuse_req_t request, fuse_ino_t id, const char* name, const char* value, size_t length,
              int flags) {
  Adapter& adapter = Adapter::of(request);
  if (VirtualTree::owns(id)) return void(fuse_reply_err(request, EPERM));
  adapter.spawn(KernelId{id}, request,
                adapter.files.set_xattr(KernelId{id}, name, std::string(value, length), flags,
                                        credentials_of(request, name)),
                reply_status);
}

void getxattr(fuse_req_t request, fuse_ino_t id, const char* name, size_t room) {
  Adapter& adapter = Adapter::of(request);
  if (VirtualTree::owns(id)) return void(fuse_reply_err(request, ENODATA));
  adapter.spawn_killable(KernelId{id}, request, adapter.files.get_xattr(KernelId{id}, name),
                         [room](Responder& responder, const Result<std::string>& value) {
                           if (!value) return void(responder.error(value.error()));
                           reply_value(responder, room, *value);
                         });
}

void listxattr(fuse_req_t request, fuse_ino_t id, size_t room) {
  Adapter& adapter = Adapter::of(request);
  if (VirtualTree::owns(id)) {
    Responder responder(request);
    return reply_value(responder, room, {});
  }
  adapter.spawn_killable(
      KernelId{id}, request, adapter.files.list_xattr(KernelId{id}),
      [room](Responder& responder, const Result<std::vector<std::string>>& names) {
        if (!names) return void(responder.error(names.error()));
        std::string joined;
        for (const std::string& name : *names) joined.append(name).push_back('\0');
        reply_value(responder, room, joined);
      });
}

void removexattr(fuse_req_t request, fuse_ino_t id, const char* name) {
  Adapter& adapter = Adapter::of(request);
  if (VirtualTree::owns(id)) return void(fuse_reply_err(request, ENODATA));
  adapter.spawn(KernelId{id}, request, adapter.files.remove_xattr(KernelId{id}, name),
                reply_status);
}

}  // namespace

void add_xattr_operations(fuse_lowlevel_ops& operations) {
  operations.setxattr = setxattr;
  operations.getxattr = getxattr;
  operations.listxattr = listxattr;
  operations.removexattr = removexattr;
}

}  // namespace larder::fuse
