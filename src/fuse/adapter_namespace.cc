// Names and attributes.
#include "fuse/adapter.h"
#include "fuse/convert.h"
#include "fuse/set_id.h"

namespace larder::fuse {
namespace {

using fs::KernelId;

// Passed to spawn() where a new lookup is the answer.
struct NodeReplier {
  Adapter* adapter;
  void operator()(Responder& responder, const Result<fs::NodeReply>& result) const {
    reply_node(*adapter, responder, result);
  }
};

// The control directory's names are neither made nor removed; true when that was the answer.
bool refuse_virtual(fuse_req_t request, fuse_ino_t parent, const char* name) {
  if (!VirtualTree::owns(parent) && !Adapter::of(request).virtual_tree.is_entry(parent, name))
    return false;
  fuse_reply_err(request, EPERM);
  return true;
}

void lookup(fuse_req_t request, fuse_ino_t parent, const char* name) {
  Adapter& adapter = Adapter::of(request);
  if (VirtualTree::owns(parent) || adapter.virtual_tree.is_entry(parent, name))
    return adapter.virtual_tree.lookup(request, parent, name);
  const pid_t asker = fuse_req_ctx(request)->pid;
  if (const auto hit = adapter.files.lookup_hit(KernelId{parent}, name, asker)) {
    adapter.hits.add();
    Responder responder(request);
    return reply_node(adapter, responder, *hit);
  }
  adapter.spawn_killable(KernelId{parent}, request,
                         adapter.files.lookup(KernelId{parent}, name, asker),
                         NodeReplier{&adapter});
}

void forget_one(Adapter& adapter, fuse_ino_t id, uint64_t lookups) {
  if (!VirtualTree::owns(id)) adapter.files.forget(KernelId{id}, lookups);
}

void forget(fuse_req_t request, fuse_ino_t id, uint64_t lookups) {
  forget_one(Adapter::of(request), id, lookups);
  fuse_reply_none(request);
}

void forget_multi(fuse_req_t request, size_t count, fuse_forget_data* forgets) {
  for (size_t i = 0; i < count; ++i)
    forget_one(Adapter::of(request), forgets[i].ino, forgets[i].nlookup);
  fuse_reply_none(request);
}

void getattr(fuse_req_t request, fuse_ino_t id, fuse_file_info*) {
  Adapter& adapter = Adapter::of(request);
  if (VirtualTree::owns(id)) return adapter.virtual_tree.attributes(request, id);
  if (const auto hit = adapter.files.attributes_hit(KernelId{id})) {
    adapter.hits.add();
    Responder responder(request);
    return reply_attributes(responder, *hit);
  }
  const pid_t asker = fuse_req_ctx(request)->pid;
  adapter.spawn_killable(KernelId{id}, request, adapter.files.attributes(KernelId{id}, asker),
                         reply_attributes);
}

void setattr(fuse_req_t request, fuse_ino_t id, struct stat* attributes, int to_set,
             fuse_file_info* info) {
  Adapter& adapter = Adapter::of(request);
  if (VirtualTree::owns(id)) return adapter.virtual_tree.set_attributes(request, id, to_set);
  const uint64_t handle = info == nullptr ? 0 : FileHandle(*info).handle();
  fs::AttributeChange change = change_of(*attributes, to_set);
  if (change.size_bytes || change.uid || change.gid)
    take_set_id(change, lost_set_id(request, adapter, KernelId{id}));
  else if (to_set == 0)
    take_set_id(change, lost_by_setting_nothing(request, adapter, KernelId{id}));
  adapter.spawn(KernelId{id}, request, adapter.files.set_attributes(KernelId{id}, change, handle),
                reply_attributes);
}

void readlink(fuse_req_t request, fuse_ino_t id) {
  Adapter& adapter = Adapter::of(request);
  if (VirtualTree::owns(id)) return void(fuse_reply_err(request, EINVAL));
  adapter.spawn_killable(
      KernelId{id}, request, adapter.files.read_link(KernelId{id}),
      [](Responder& responder, const Result<std::string>& target) {
        if (!target) return void(responder.error(target.error()));
        responder.send([&](fuse_req_t to) { return fuse_reply_readlink(to, target->c_str()); });
      });
}

void mknod(fuse_req_t request, fuse_ino_t parent, const char* name, mode_t mode, dev_t rdev) {
  if (refuse_virtual(request, parent, name)) return;
  Adapter& adapter = Adapter::of(request);
  adapter.spawn(KernelId{parent}, request,
                adapter.files.make_node(KernelId{parent}, name, mode, rdev, caller_of(request)),
                NodeReplier{&adapter});
}

void mkdir(fuse_req_t request, fuse_ino_t parent, const char* name, mode_t mode) {
  if (refuse_virtual(request, parent, name)) return;
  Adapter& adapter = Adapter::of(request);
  adapter.spawn(KernelId{parent}, request,
                adapter.files.make_directory(KernelId{parent}, name, mode, caller_of(request)),
                NodeReplier{&adapter});
}

void symlink(fuse_req_t request, const char* target, fuse_ino_t parent, const char* name) {
  if (refuse_virtual(request, parent, name)) return;
  Adapter& adapter = Adapter::of(request);
  adapter.spawn(KernelId{parent}, request,
                adapter.files.make_symlink(KernelId{parent}, name, target, caller_of(request)),
                NodeReplier{&adapter});
}

void link(fuse_req_t request, fuse_ino_t id, fuse_ino_t parent, const char* name) {
  if (refuse_virtual(request, parent, name)) return;
  if (VirtualTree::owns(id)) return void(fuse_reply_err(request, EPERM));
  Adapter& adapter = Adapter::of(request);
  adapter.spawn(KernelId{id}, request, adapter.files.link(KernelId{id}, KernelId{parent}, name),
                NodeReplier{&adapter});
}

void unlink(fuse_req_t request, fuse_ino_t parent, const char* name) {
  if (refuse_virtual(request, parent, name)) return;
  Adapter& adapter = Adapter::of(request);
  adapter.spawn(KernelId{parent}, request, adapter.files.unlink(KernelId{parent}, name),
                reply_status);
}

void rmdir(fuse_req_t request, fuse_ino_t parent, const char* name) {
  if (refuse_virtual(request, parent, name)) return;
  Adapter& adapter = Adapter::of(request);
  adapter.spawn(KernelId{parent}, request, adapter.files.remove_directory(KernelId{parent}, name),
                reply_status);
}

void rename(fuse_req_t request, fuse_ino_t parent, const char* name, fuse_ino_t new_parent,
            const char* new_name, unsigned flags) {
  if (refuse_virtual(request, parent, name) || refuse_virtual(request, new_parent, new_name))
    return;
  Adapter& adapter = Adapter::of(request);
  adapter.spawn(KernelId{parent}, request,
                adapter.files.rename(KernelId{parent}, name, KernelId{new_parent}, new_name, flags),
                reply_status);
}

void access(fuse_req_t request, fuse_ino_t, int) {
  fuse_reply_err(request, ENOSYS);  // the kernel checks (default_permissions) and asks no more
}

void statfs(fuse_req_t request, fuse_ino_t) {
  Adapter& adapter = Adapter::of(request);
  constexpr KernelId kRoot{FUSE_ROOT_ID};
  adapter.spawn_killable(
      kRoot, request, adapter.files.space(),
      [](Responder& responder, const Result<struct statvfs>& space) {
        if (!space) return void(responder.error(space.error()));
        responder.send([&](fuse_req_t to) { return fuse_reply_statfs(to, &*space); });
      });
}

}  // namespace

void add_namespace_operations(fuse_lowlevel_ops& operations) {
  operations.lookup = lookup;
  operations.forget = forget;
  operations.forget_multi = forget_multi;
  operations.getattr = getattr;
  operations.setattr = setattr;
  operations.readlink = readlink;
  operations.mknod = mknod;
  operations.mkdir = mkdir;
  operations.symlink = symlink;
  operations.link = link;
  operations.unlink = unlink;
  operations.rmdir = rmdir;
  operations.rename = rename;
  operations.access = access;
  operations.statfs = statfs;
}

}  // namespace larder::fuse
