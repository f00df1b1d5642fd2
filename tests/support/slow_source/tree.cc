#include "tree.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace larder::slow_source {

namespace {

struct HandleBuffer {
  HandleBuffer() { header()->handle_bytes = MAX_HANDLE_SZ; }
  file_handle* header() { return reinterpret_cast<file_handle*>(bytes); }
  alignas(file_handle) char bytes[sizeof(file_handle) + MAX_HANDLE_SZ];
};

}  // namespace

Fd::~Fd() {
  if (owned_ && fd_ >= 0) close(fd_);
}

Tree::Tree(int root_fd) : root_fd_(root_fd) {
  struct stat attributes{};
  if (fstat(root_fd_, &attributes) == 0) root_device_ = attributes.st_dev;
  mount_fd_ = openat(root_fd_, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  handles_work_ = true;
  const std::string key = key_of(root_fd_, attributes);
  const Fd probe = Fd::own(key[0] == 'h' ? open_handle(key) : -1);
  handles_work_ = static_cast<bool>(probe);
}

Tree::~Tree() {
  for (const auto& [key, node] : nodes_)
    if (node->fd >= 0) close(node->fd);
  if (mount_fd_ >= 0) close(mount_fd_);
  close(root_fd_);
}

std::string Tree::key_of(int fd, const struct stat& attributes) const {
  HandleBuffer handle;
  int mount_id = 0;
  if (handles_work_ && attributes.st_dev == root_device_ &&
      name_to_handle_at(fd, "", handle.header(), &mount_id, AT_EMPTY_PATH) == 0)
    return "h" + std::string(handle.bytes, sizeof(file_handle) + handle.header()->handle_bytes);
  return "i" + std::to_string(attributes.st_dev) + ":" + std::to_string(attributes.st_ino);
}

int Tree::open_handle(const std::string& key) const {
  HandleBuffer handle;
  std::memcpy(handle.bytes, key.data() + 1, key.size() - 1);
  return open_by_handle_at(mount_fd_, handle.header(), O_PATH | O_NOFOLLOW | O_CLOEXEC);
}

Fd Tree::at(fuse_ino_t node) const {
  if (node == FUSE_ROOT_ID) return Fd::borrow(root_fd_);
  const Node* known = reinterpret_cast<const Node*>(node);
  {
    const std::lock_guard lock(mutex_);
    if (known->fd >= 0)
      return Fd::borrow(known->fd);  // the kernel forgets no node it has a request for
  }
  return Fd::own(open_handle(known->key));
}

int Tree::lookup(fuse_ino_t parent, const char* name, fuse_entry_param* entry) {
  const Fd directory = at(parent);
  if (!directory) return errno;
  Fd fd = hold(directory, name);
  if (!fd) return errno;
  *entry = {};
  if (fstatat(fd.get(), "", &entry->attr, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) != 0) return errno;
  const std::string key = key_of(fd.get(), entry->attr);
  const std::lock_guard lock(mutex_);
  std::unique_ptr<Node>& node = nodes_[key];
  if (node == nullptr) {
    node = std::make_unique<Node>();
    node->key = key;
    if (key[0] == 'i') node->fd = fd.release();
  }
  ++node->lookups;
  entry->ino = reinterpret_cast<fuse_ino_t>(node.get());
  return 0;
}

void Tree::forget(fuse_ino_t node, uint64_t lookups) {
  if (node == FUSE_ROOT_ID) return;
  const std::lock_guard lock(mutex_);
  auto* known = reinterpret_cast<Node*>(node);
  known->lookups -= lookups;
  if (known->lookups > 0) return;
  if (known->fd >= 0) close(known->fd);
  const std::string key = known->key;
  nodes_.erase(key);
}

Fd Tree::hold(const Fd& parent, const char* name) const {
  return Fd::own(openat(parent.get(), name, O_PATH | O_NOFOLLOW | O_CLOEXEC));
}

void Tree::keep_alive(Fd doomed) {
  struct stat attributes{};
  if (!doomed || fstat(doomed.get(), &attributes) != 0) return;
  if (attributes.st_nlink > 0 && !S_ISDIR(attributes.st_mode)) return;
  const std::string key = key_of(doomed.get(), attributes);
  const std::lock_guard lock(mutex_);
  const auto found = nodes_.find(key);
  if (found != nodes_.end() && found->second->fd < 0) found->second->fd = doomed.release();
}

}  // namespace larder::slow_source
