#include "fuse/virtual_tree.h"

#include <algorithm>
#include <vector>

namespace larder::fuse {
namespace {

constexpr double kTtlSeconds = 1.0;

timespec now(const Clock& clock) {
  constexpr int64_t kNanosPerSecond = 1'000'000'000;
  const int64_t time_ns = clock.wall().count();
  return {.tv_sec = time_ns / kNanosPerSecond, .tv_nsec = time_ns % kNanosPerSecond};
}

}  // namespace

VirtualTree::VirtualTree(const fs::VirtualDirectory* directory, uid_t owner, gid_t group,
                         const Clock& clock)
    : directory_(directory), owner_(owner), group_(group), born_(now(clock)) {}

const fs::VirtualFile* VirtualTree::file(fuse_ino_t id) const {
  if (directory_ == nullptr) return nullptr;
  const uint64_t number = fs::KernelId{id}.node() - kDirectoryNode;
  const auto& files = directory_->files();
  return number >= 1 && number <= files.size() ? &files[number - 1] : nullptr;
}

fuse_entry_param VirtualTree::entry(fuse_ino_t id) const {
  const fs::VirtualFile* virtual_file = file(id);
  fuse_entry_param result{};
  result.ino = id;
  result.generation = 1;
  result.attr.st_ino = id;
  result.attr.st_mode = virtual_file == nullptr
                            ? S_IFDIR | 0500
                            : S_IFREG | static_cast<mode_t>(virtual_file->permissions);
  result.attr.st_nlink = virtual_file == nullptr ? 2 : 1;
  result.attr.st_uid = owner_;
  result.attr.st_gid = group_;
  result.attr.st_atim = result.attr.st_mtim = result.attr.st_ctim = born_;
  result.attr_timeout = result.entry_timeout = kTtlSeconds;
  return result;
}

bool VirtualTree::permitted(fuse_req_t request) const {
  const uid_t uid = fuse_req_ctx(request)->uid;
  return uid == owner_ || uid == 0;
}

void VirtualTree::lookup(fuse_req_t request, fuse_ino_t parent, std::string_view name) const {
  if (is_entry(parent, name)) {
    const fuse_entry_param reply = entry(id_of(0));
    fuse_reply_entry(request, &reply);
    return;
  }
  if (!permitted(request)) {
    fuse_reply_err(request, EACCES);
    return;
  }
  const auto& files = directory_->files();
  const auto found = std::ranges::find(files, name, &fs::VirtualFile::name);
  if (found == files.end()) {
    fuse_reply_err(request, ENOENT);
    return;
  }
  const fuse_entry_param reply = entry(id_of(static_cast<uint64_t>(found - files.begin()) + 1));
  fuse_reply_entry(request, &reply);
}

void VirtualTree::attributes(fuse_req_t request, fuse_ino_t id) const {
  const fuse_entry_param reply = entry(id);
  fuse_reply_attr(request, &reply.attr, kTtlSeconds);
}

void VirtualTree::set_attributes(fuse_req_t request, fuse_ino_t id, int to_set) const {
  constexpr int kRefused = FUSE_SET_ATTR_MODE | FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID;
  if ((to_set & kRefused) != 0)
    fuse_reply_err(request, EPERM);
  else
    attributes(request, id);
}

void VirtualTree::open(fuse_req_t request, fuse_ino_t id, const fuse_file_info& info) {
  const fs::VirtualFile* virtual_file = file(id);
  const int access = info.flags & O_ACCMODE;
  int error = 0;
  if (virtual_file == nullptr)
    error = ENOENT;
  else if (!permitted(request))
    error = EACCES;
  else if (access != O_RDONLY && !virtual_file->write)
    error = EACCES;
  if (error != 0) {
    fuse_reply_err(request, error);
    return;
  }
  auto opened = std::make_shared<Open>(*virtual_file);
  if (access != O_WRONLY && virtual_file->read) {
    std::string content = virtual_file->read();
    MutexLock lock(opened->mutex);
    opened->content = std::move(content);
  }
  fuse_file_info reply = info;
  reply.direct_io = 1;
  {
    MutexLock lock(mutex_);
    if (open_.size() < kOpenMax) {
      reply.fh = next_handle_++;
      open_.emplace(reply.fh, std::move(opened));
    } else {
      error = ENFILE;
    }
  }
  if (error != 0) {
    fuse_reply_err(request, error);
  } else if (fuse_reply_open(request, &reply) != 0) {
    MutexLock lock(mutex_);
    open_.erase(reply.fh);
  }
}

std::shared_ptr<VirtualTree::Open> VirtualTree::find(uint64_t handle) {
  MutexLock lock(mutex_);
  const auto found = open_.find(handle);
  return found == open_.end() ? nullptr : found->second;
}

void VirtualTree::read(fuse_req_t request, uint64_t handle, uint64_t offset, size_t length) {
  const std::shared_ptr<Open> opened = find(handle);
  if (opened == nullptr) {
    fuse_reply_err(request, EBADF);
    return;
  }
  std::string part;
  {
    MutexLock lock(opened->mutex);
    if (opened->written) {
      part = opened->content.substr(0, length);
      opened->content.erase(0, part.size());
    } else if (offset < opened->content.size()) {
      part = opened->content.substr(offset, length);
    }
  }
  fuse_reply_buf(request, part.data(), part.size());
}

void VirtualTree::write(fuse_req_t request, fuse_ino_t id, uint64_t handle, std::string_view data) {
  const fs::VirtualFile* virtual_file = file(id);
  const std::shared_ptr<Open> opened = find(handle);
  if (virtual_file == nullptr || !virtual_file->write || opened == nullptr) {
    fuse_reply_err(request, EBADF);
    return;
  }
  const std::string reply = virtual_file->write(data, handle);
  {
    MutexLock lock(opened->mutex);
    if (!opened->written) opened->content.clear();
    opened->written = true;
    opened->content += reply;
  }
  fuse_reply_write(request, data.size());
}

void VirtualTree::release(fuse_req_t request, uint64_t handle) {
  std::shared_ptr<Open> opened = find(handle);
  {
    MutexLock lock(mutex_);
    open_.erase(handle);
  }
  bool written = false;
  if (opened != nullptr) {
    MutexLock lock(opened->mutex);
    written = opened->written;
  }
  if (written && opened->file.closed) opened->file.closed(handle);
  fuse_reply_err(request, 0);
}

void VirtualTree::open_directory(fuse_req_t request, const fuse_file_info& info) const {
  if (permitted(request))
    fuse_reply_open(request, &info);
  else
    fuse_reply_err(request, EACCES);
}

// Offsets are positions in: ".", "..", the files.
void VirtualTree::read_directory(fuse_req_t request, fuse_ino_t id, uint64_t offset, size_t length,
                                 bool plus) const {
  const auto& files = directory_->files();
  std::vector<char> buffer(length);
  size_t used = 0;
  for (uint64_t position = offset; position < files.size() + 2; ++position) {
    const char* name = position == 0   ? "."
                       : position == 1 ? ".."
                                       : files[position - 2].name.c_str();
    fuse_entry_param item = entry(position < 2 ? id : id_of(position - 1));
    if (position < 2) item.ino = 0;  // the kernel counts no lookup for these
    const size_t room = length - used;
    const auto next = static_cast<off_t>(position + 1);
    const size_t need =
        plus ? fuse_add_direntry_plus(nullptr, buffer.data() + used, room, name, &item, next)
             : fuse_add_direntry(nullptr, buffer.data() + used, room, name, &item.attr, next);
    if (need > room) break;
    used += need;
  }
  fuse_reply_buf(request, buffer.data(), used);
}

}  // namespace larder::fuse
