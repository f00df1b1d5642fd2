// A file system in memory behind fs::FileSystem, to test fuse/ on a real mount without the rest of
// larder.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/mutex.h"
#include "fs/file_system.h"
#include "io/completion.h"

namespace larder::testing {

// Thread-safe.
class FakeFileSystem final : public fs::FileSystem {
 public:
  explicit FakeFileSystem(io::Reactor& reactor);

  // While hanging, no slow function ends.
  void hang();
  void go_on();
  // How many slow functions are waiting for go_on().
  int hanging_count() const { return hanging_.load(); }
  // Names, attributes and closes are answered by the *_hit functions.
  void set_hits(bool on) { hits_.store(on); }
  void add_file(const std::string& name, std::string data);  // in the root
  // Opens of the root's file `name` are in passthrough to `fd`.
  void set_object(const std::string& name, int fd);
  // The next open of the root's file `name` is kStale, and a look-up then gives a new epoch.
  void make_stale(const std::string& name);
  std::string data(const std::string& name) const;
  uint64_t node_id(const std::string& name) const;
  fs::KernelPort& kernel() const { return *kernel_; }

  size_t open_handles() const;
  // Lookups not given back, of all nodes but the root.
  uint64_t lookups() const;
  // Lookups the kernel ever got with a listing, forgotten or not.
  uint64_t listed_lookups() const { return listed_lookups_; }
  uint64_t opens() const { return opens_.load(); }
  uint64_t reads() const { return reads_.load(); }
  uint64_t flushes() const { return flushes_.load(); }
  uint64_t attribute_requests() const { return attribute_requests_.load(); }

  io::Reactor& home(fs::KernelId id) override;
  void attach(fs::KernelPort& kernel) override;
  std::optional<Result<fs::NodeReply>> lookup_hit(fs::KernelId parent, std::string_view name,
                                                  pid_t asker) override;
  std::optional<Result<fs::AttributesReply>> attributes_hit(fs::KernelId id) override;
  std::optional<Attributes> last_seen(fs::KernelId id) override;
  std::optional<Result<fs::OpenReply>> open_hit(fs::KernelId id, int flags, pid_t opener) override;
  bool read_hit(uint64_t handle, uint64_t offset, size_t length, fs::ReadReply& reply) override;
  bool release_hit(uint64_t handle) override;
  void forget(fs::KernelId id, uint64_t lookups) override;
  void count_lookup(const fs::DirectoryEntryReply& entry) override;
  io::Task<Result<fs::NodeReply>> lookup(fs::KernelId parent, std::string name,
                                         pid_t asker) override;
  io::Task<Result<fs::AttributesReply>> attributes(fs::KernelId id, pid_t asker) override;
  io::Task<Result<fs::AttributesReply>> set_attributes(fs::KernelId id, fs::AttributeChange change,
                                                       uint64_t handle) override;
  io::Task<Result<std::string>> read_link(fs::KernelId id) override;
  io::Task<Result<fs::NodeReply>> make_node(fs::KernelId parent, std::string name, uint32_t mode,
                                            uint64_t rdev, Caller caller) override;
  io::Task<Result<fs::NodeReply>> make_directory(fs::KernelId parent, std::string name,
                                                 uint32_t mode, Caller caller) override;
  io::Task<Result<fs::NodeReply>> make_symlink(fs::KernelId parent, std::string name,
                                               std::string target, Caller caller) override;
  io::Task<Result<fs::NodeReply>> link(fs::KernelId id, fs::KernelId new_parent,
                                       std::string new_name) override;
  io::Task<Result<void>> unlink(fs::KernelId parent, std::string name) override;
  io::Task<Result<void>> remove_directory(fs::KernelId parent, std::string name) override;
  io::Task<Result<void>> rename(fs::KernelId parent, std::string name, fs::KernelId new_parent,
                                std::string new_name, unsigned flags) override;
  io::Task<Result<fs::OpenReply>> open(fs::KernelId id, int flags, pid_t opener) override;
  io::Task<Result<fs::CreateReply>> create(fs::KernelId parent, std::string name, uint32_t mode,
                                           int flags, Caller caller) override;
  io::Task<Result<fs::ReadReply>> read(uint64_t handle, uint64_t offset, size_t length) override;
  io::Task<Result<size_t>> write(uint64_t handle, buffer::BufferRef data, uint64_t offset,
                                 int flags) override;
  io::Task<Result<void>> flush(uint64_t handle) override;
  io::Task<Result<void>> sync(uint64_t handle, bool data_only) override;
  io::Task<void> release(uint64_t handle) override;
  io::Task<Result<void>> allocate(uint64_t handle, int mode, uint64_t offset,
                                  uint64_t length) override;
  io::Task<Result<uint64_t>> seek(uint64_t handle, uint64_t offset, int whence) override;
  io::Task<Result<size_t>> copy_range(uint64_t handle, uint64_t offset, uint64_t to_handle,
                                      uint64_t to_offset, size_t length) override;
  io::Task<Result<uint64_t>> open_directory(fs::KernelId id) override;
  io::Task<Result<std::vector<fs::DirectoryEntryReply>>> read_directory(
      uint64_t handle, uint64_t offset, size_t budget_bytes, bool with_attributes) override;
  void release_directory(uint64_t handle) override;
  io::Task<Result<void>> sync_directory(uint64_t handle, bool data_only) override;
  io::Task<Result<struct statvfs>> space() override;
  io::Task<Result<std::string>> get_xattr(fs::KernelId id, std::string name) override;
  io::Task<Result<void>> set_xattr(fs::KernelId id, std::string name, std::string value, int flags,
                                   std::optional<Credentials> as) override;
  io::Task<Result<std::vector<std::string>>> list_xattr(fs::KernelId id) override;
  io::Task<Result<void>> remove_xattr(fs::KernelId id, std::string name) override;

 private:
  struct Node {
    Attributes attributes;
    std::string data;  // or a symlink's target
    std::map<std::string, uint64_t> children;
    std::map<std::string, std::string> xattrs;
    uint64_t epoch = 0;
    bool stale = false;
    int object_fd = -1;
    int32_t backing_id = 0;
    uint64_t passthrough_opens = 0;
  };
  struct Handle {
    uint64_t node = 0;
    std::vector<std::string> names;  // a directory's snapshot
  };

  // Waits while hanging.
  io::Task<void> gate();
  Node* find(fs::KernelId id) REQUIRES(mutex_);
  Node* by_handle(uint64_t handle) REQUIRES(mutex_);
  void drop_handle(uint64_t handle) REQUIRES(mutex_);
  Node* by_name(const std::string& name) REQUIRES(mutex_);
  fs::NodeReply counted(uint64_t node) REQUIRES(mutex_);
  fs::NodeReply describe(uint64_t node) REQUIRES(mutex_);
  Result<fs::NodeReply> look(uint64_t parent, const std::string& name) REQUIRES(mutex_);
  Result<uint64_t> add(uint64_t parent, const std::string& name, uint32_t mode, Caller caller)
      REQUIRES(mutex_);
  Result<void> remove(uint64_t parent, const std::string& name, bool directory) REQUIRES(mutex_);
  Result<fs::OpenReply> open_node(uint64_t node, int flags) REQUIRES(mutex_);

  io::Reactor& reactor_;
  fs::KernelPort* kernel_ = nullptr;
  std::atomic<bool> hits_{false};
  std::atomic<int> hanging_{0};
  std::atomic<uint64_t> opens_{0};
  std::atomic<uint64_t> reads_{0};
  std::atomic<uint64_t> flushes_{0};
  std::atomic<uint64_t> attribute_requests_{0};
  mutable Mutex mutex_;
  std::shared_ptr<io::Event> go_on_ GUARDED_BY(mutex_);  // null: not hanging
  std::map<uint64_t, Node> nodes_ GUARDED_BY(mutex_);
  std::map<uint64_t, uint64_t> lookups_ GUARDED_BY(mutex_);
  std::atomic<uint64_t> listed_lookups_{0};
  std::map<uint64_t, Handle> handles_ GUARDED_BY(mutex_);
  uint64_t next_node_ GUARDED_BY(mutex_) = 2;
  uint64_t next_handle_ GUARDED_BY(mutex_) = 1;
};

}  // namespace larder::testing
