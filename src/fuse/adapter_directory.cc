// Directories.
#include <vector>

#include "fuse/adapter.h"
#include "fuse/convert.h"

namespace larder::fuse {
namespace {

using fs::KernelId;
using Entries = std::vector<fs::DirectoryEntryReply>;

void opendir(fuse_req_t request, fuse_ino_t id, fuse_file_info* info) {
  Adapter& adapter = Adapter::of(request);
  if (VirtualTree::owns(id)) return adapter.virtual_tree.open_directory(request, *info);
  adapter.spawn_killable(
      KernelId{id}, request, adapter.files.open_directory(KernelId{id}),
      [&adapter, info = *info](Responder& responder, const Result<uint64_t>& handle) {
        if (!handle) return void(responder.error(handle.error()));
        fuse_file_info reply = info;
        reply.fh = *handle;
        if (!responder.send([&](fuse_req_t to) { return fuse_reply_open(to, &reply); }))
          adapter.files.release_directory(*handle);
      });
}

// A reply's buffer being filled with entries.
struct Packing {
  Adapter& adapter;
  std::vector<char>& buffer;
  size_t length;
  size_t used = 0;
  std::vector<KernelId> counted{};  // lookups that go with the reply

  // False when it does not fit.
  bool add(const fs::DirectoryEntryReply& item, bool plus) {
    return plus ? add_plus(item) : add_plain(item);
  }

 private:
  bool add_plain(const fs::DirectoryEntryReply& item) {
    struct stat attributes{};
    attributes.st_ino = item.inode;
    attributes.st_mode = item.type;
    return take(fuse_add_direntry(nullptr, buffer.data() + used, length - used, item.name.c_str(),
                                  &attributes, static_cast<off_t>(item.next_offset)));
  }

  bool add_plus(const fs::DirectoryEntryReply& item) {
    // The kernel takes no node for "." and "..", and gives no lookup back for them.
    const bool with_node = item.node.id.value != 0 && item.name != "." && item.name != "..";
    fuse_entry_param entry{};
    if (with_node) {
      entry = entry_of(item.node);
    } else {
      entry.attr.st_ino = item.inode;
      entry.attr.st_mode = item.type;
    }
    if (!take(fuse_add_direntry_plus(nullptr, buffer.data() + used, length - used,
                                     item.name.c_str(), &entry,
                                     static_cast<off_t>(item.next_offset))))
      return false;
    if (with_node) {
      // Before the reply: the kernel may give it back at once.
      adapter.files.count_lookup(item);
      counted.push_back(item.node.id);
    }
    return true;
  }

  bool take(size_t need) {
    if (need > length - used) return false;
    used += need;
    return true;
  }
};

void reply_entries(Adapter& adapter, Responder& responder, KernelId id, size_t length, bool plus,
                   const Result<Entries>& entries) {
  if (!entries) return void(responder.error(entries.error()));
  thread_local std::vector<char> buffer;
  if (buffer.size() < length) buffer.resize(length);
  Packing packing{.adapter = adapter, .buffer = buffer, .length = length};
  for (const fs::DirectoryEntryReply& item : *entries) {
    if (adapter.virtual_tree.is_entry(id.value, item.name)) continue;  // hidden behind ours
    if (!packing.add(item, plus)) break;
  }
  const bool taken = responder.send(
      [&](fuse_req_t request) { return fuse_reply_buf(request, buffer.data(), packing.used); });
  if (taken) return;
  for (const KernelId counted : packing.counted) adapter.files.forget(counted, 1);
}

void list(fuse_req_t request, fuse_ino_t id, size_t length, off_t offset,
          const fuse_file_info& info, bool plus) {
  Adapter& adapter = Adapter::of(request);
  const auto from = static_cast<uint64_t>(offset);
  if (VirtualTree::owns(id))
    return adapter.virtual_tree.read_directory(request, id, from, length, plus);
  adapter.spawn_killable(
      KernelId{id}, request, adapter.files.read_directory(info.fh, from, length, plus),
      [&adapter, id, length, plus](Responder& responder, const Result<Entries>& entries) {
        reply_entries(adapter, responder, KernelId{id}, length, plus, entries);
      });
}

void readdir(fuse_req_t request, fuse_ino_t id, size_t length, off_t offset, fuse_file_info* info) {
  list(request, id, length, offset, *info, false);
}

void readdirplus(fuse_req_t request, fuse_ino_t id, size_t length, off_t offset,
                 fuse_file_info* info) {
  list(request, id, length, offset, *info, true);
}

void releasedir(fuse_req_t request, fuse_ino_t id, fuse_file_info* info) {
  if (!VirtualTree::owns(id)) Adapter::of(request).files.release_directory(info->fh);
  fuse_reply_err(request, 0);
}

void fsyncdir(fuse_req_t request, fuse_ino_t id, int data_only, fuse_file_info* info) {
  Adapter& adapter = Adapter::of(request);
  if (VirtualTree::owns(id)) return void(fuse_reply_err(request, 0));
  adapter.spawn(KernelId{id}, request, adapter.files.sync_directory(info->fh, data_only != 0),
                reply_status);
}

}  // namespace

void add_directory_operations(fuse_lowlevel_ops& operations) {
  operations.opendir = opendir;
  operations.readdir = readdir;
  operations.readdirplus = readdirplus;
  operations.releasedir = releasedir;
  operations.fsyncdir = fsyncdir;
}

}  // namespace larder::fuse
