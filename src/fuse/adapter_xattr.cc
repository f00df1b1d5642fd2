// Extended attributes.
#include <optional>
#include <string>
#include <vector>

#include "fuse/adapter.h"
#include "fuse/set_id.h"

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
std::optional<Credentials> setter_of(fuse_req_t request, std::string_view name) {
  if (name != "system.posix_acl_access" || fuse_req_ctx(request)->uid == 0) return std::nullopt;
  return credentials_of(request);
}

void setxattr(fuse_req_t request, fuse_ino_t id, const char* name, const char* value, size_t length,
              int flags) {
  Adapter& adapter = Adapter::of(request);
  if (VirtualTree::owns(id)) return void(fuse_reply_err(request, EPERM));
  adapter.spawn(KernelId{id}, request,
                adapter.files.set_xattr(KernelId{id}, name, std::string(value, length), flags,
                                        setter_of(request, name)),
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
