// The nodes the kernel knows, over the directory that is passed through.
//
// A node is remembered by its file handle (name_to_handle_at), so a known node costs no descriptor
// and follows its file through renames; where handles are not to be had (no privilege, another file
// system mounted inside) it keeps an O_PATH descriptor.  A node whose last name goes gets one, too:
// that keeps the file alive for those who still know it, and its inode number from being used anew.
#pragma once

#include <fuse_lowlevel.h>
#include <sys/stat.h>

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <utility>

namespace larder::slow_source {

// A descriptor, owned or borrowed; -1 with errno set when there is none.
class Fd {
 public:
  static Fd own(int fd) { return Fd(fd, true); }
  static Fd borrow(int fd) { return Fd(fd, false); }
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)), owned_(other.owned_) {}
  Fd& operator=(Fd&&) = delete;
  ~Fd();
  explicit operator bool() const { return fd_ >= 0; }
  int get() const { return fd_; }
  int release() { return std::exchange(fd_, -1); }
  // A path that leads to this very file, also when it is a symlink.
  std::string path() const { return "/proc/self/fd/" + std::to_string(fd_); }

 private:
  Fd(int fd, bool owned) : fd_(fd), owned_(owned) {}
  int fd_;
  bool owned_;
};

// Thread-safe.  Functions that return int return 0 or an errno.
class Tree {
 public:
  // Takes the descriptor of the directory.
  explicit Tree(int root_fd);
  ~Tree();
  Tree(const Tree&) = delete;
  Tree& operator=(const Tree&) = delete;

  // An O_PATH descriptor of the node.
  Fd at(fuse_ino_t node) const;
  // The entry for the kernel; counts one look-up.
  int lookup(fuse_ino_t parent, const char* name, fuse_entry_param* entry);
  void forget(fuse_ino_t node, uint64_t lookups);
  // Opens what is about to lose a name; to be handed to keep_alive() after it did.
  Fd hold(const Fd& parent, const char* name) const;
  void keep_alive(Fd doomed);
  int root_fd() const { return root_fd_; }

 private:
  struct Node {
    std::string key;  // of the table: 'h' and the handle, or 'i', device and inode number
    int fd = -1;
    uint64_t lookups = 0;
  };
  std::string key_of(int fd, const struct stat& attributes) const;
  int open_handle(const std::string& key) const;

  const int root_fd_;
  int mount_fd_ = -1;  // open_by_handle_at wants one that is not O_PATH
  dev_t root_device_ = 0;
  bool handles_work_ = false;
  mutable std::mutex mutex_;
  std::unordered_map<std::string, std::unique_ptr<Node>> nodes_;
};

}  // namespace larder::slow_source
