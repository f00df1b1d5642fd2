#include "fuse/convert.h"

namespace larder::fuse {

struct stat stat_of(const Attributes& attributes) {
  struct stat result{};
  result.st_ino = attributes.inode;
  result.st_mode = attributes.mode;
  result.st_nlink = attributes.nlink;
  result.st_uid = attributes.uid;
  result.st_gid = attributes.gid;
  result.st_rdev = attributes.rdev;
  result.st_size = static_cast<off_t>(attributes.size_bytes);
  result.st_blocks = static_cast<blkcnt_t>(attributes.blocks_512);
  result.st_atim = attributes.times.atime.timespec();
  result.st_mtim = attributes.times.mtime.timespec();
  result.st_ctim = attributes.times.ctime.timespec();
  return result;
}

double seconds(Nanos duration) {
  return std::chrono::duration<double>(duration).count();
}

fuse_entry_param entry_of(const fs::NodeReply& node) {
  fuse_entry_param entry{};
  entry.ino = node.id.value;
  entry.generation = 1;  // ids are never reused
  entry.attr = stat_of(node.attributes);
  entry.attr_timeout = seconds(node.attributes_ttl);
  entry.entry_timeout = seconds(node.entry_ttl);
  return entry;
}

Caller caller_of(fuse_req_t request) {
  const fuse_ctx* context = fuse_req_ctx(request);
  return {.uid = context->uid, .gid = context->gid, .pid = context->pid, .umask = context->umask};
}

fs::AttributeChange change_of(const struct stat& attributes, int to_set) {
  fs::AttributeChange change;
  if ((to_set & FUSE_SET_ATTR_MODE) != 0) change.permissions = attributes.st_mode & 07777;
  if ((to_set & FUSE_SET_ATTR_UID) != 0) change.uid = attributes.st_uid;
  if ((to_set & FUSE_SET_ATTR_GID) != 0) change.gid = attributes.st_gid;
  if ((to_set & FUSE_SET_ATTR_SIZE) != 0)
    change.size_bytes = static_cast<uint64_t>(attributes.st_size);
  if ((to_set & FUSE_SET_ATTR_ATIME_NOW) != 0)
    change.atime_now = true;
  else if ((to_set & FUSE_SET_ATTR_ATIME) != 0)
    change.atime = Timestamp::of(attributes.st_atim);
  if ((to_set & FUSE_SET_ATTR_MTIME_NOW) != 0)
    change.mtime_now = true;
  else if ((to_set & FUSE_SET_ATTR_MTIME) != 0)
    change.mtime = Timestamp::of(attributes.st_mtim);
  return change;
}

}  // namespace larder::fuse
