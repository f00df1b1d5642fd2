#include "support/fake_file_system.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "base/check.h"
#include "base/ids.h"

namespace larder::testing {
namespace {

constexpr Nanos kTtl = std::chrono::hours(1);
constexpr Timestamp kBorn{1'700'000'000, 123'456'789};

Code posix(int value) {
  return static_cast<Code>(value);
}

}  // namespace

using fs::KernelId;

FakeFileSystem::FakeFileSystem(io::Reactor& reactor) : reactor_(reactor) {
  MutexLock lock(mutex_);
  Node& root = nodes_[kRootNode.value];
  root.attributes = {
      .inode = 1, .mode = S_IFDIR | 0755, .nlink = 2, .times = {kBorn, kBorn, kBorn}};
  root.attributes.uid = geteuid();
  root.attributes.gid = getegid();
}

void FakeFileSystem::hang() {
  MutexLock lock(mutex_);
  go_on_ = std::make_shared<io::Event>();
}

void FakeFileSystem::go_on() {
  std::shared_ptr<io::Event> event;
  {
    MutexLock lock(mutex_);
    event = std::exchange(go_on_, nullptr);
  }
  if (event != nullptr) event->set();
}

io::Task<void> FakeFileSystem::gate() {
  std::shared_ptr<io::Event> event;
  {
    MutexLock lock(mutex_);
    event = go_on_;
  }
  if (event == nullptr) co_return;
  ++hanging_;
  co_await *event;
  --hanging_;
}

#define PASS_GATE()                  \
  io::Task<void> gate_task = gate(); \
  co_await std::move(gate_task);     \
  MutexLock lock(mutex_)

FakeFileSystem::Node* FakeFileSystem::find(KernelId id) {
  const auto found = nodes_.find(id.node());
  return found == nodes_.end() ? nullptr : &found->second;
}

FakeFileSystem::Node* FakeFileSystem::by_handle(uint64_t handle) {
  const auto found = handles_.find(handle);
  return found == handles_.end() ? nullptr : find(KernelId{found->second.node});
}

FakeFileSystem::Node* FakeFileSystem::by_name(const std::string& name) {
  return find(KernelId{nodes_.at(kRootNode.value).children.at(name)});
}

fs::NodeReply FakeFileSystem::describe(uint64_t node) {
  Node& it = nodes_.at(node);
  it.attributes.size_bytes = it.data.size();
  return {KernelId::make(node, it.epoch), it.attributes, kTtl, kTtl};
}

fs::NodeReply FakeFileSystem::counted(uint64_t node) {
  const fs::NodeReply reply = describe(node);
  ++lookups_[reply.id.value];
  return reply;
}

Result<fs::NodeReply> FakeFileSystem::look(uint64_t parent, const std::string& name) {
  const auto& children = nodes_.at(parent).children;
  const auto found = children.find(name);
  if (found == children.end()) return fs::NodeReply{.id = {}, .attributes = {}, .entry_ttl = kTtl};
  return counted(found->second);
}

Result<uint64_t> FakeFileSystem::add(uint64_t parent, const std::string& name, uint32_t mode,
                                     Caller caller) {
  if (nodes_.at(parent).children.contains(name)) return fail(Code::kExists);
  const uint64_t id = next_node_++;
  Node& node = nodes_[id];
  node.attributes = {.inode = id,
                     .mode = mode & ~(caller.umask & 0777),
                     .nlink = 1,
                     .uid = caller.uid,
                     .gid = caller.gid,
                     .times = {kBorn, kBorn, kBorn}};
  nodes_.at(parent).children[name] = id;
  return id;
}

Result<void> FakeFileSystem::remove(uint64_t parent, const std::string& name, bool directory) {
  auto& children = nodes_.at(parent).children;
  const auto found = children.find(name);
  if (found == children.end()) return fail(Code::kNotFound);
  Node& node = nodes_.at(found->second);
  if (S_ISDIR(node.attributes.mode) != directory) return fail(posix(directory ? ENOTDIR : EISDIR));
  if (!node.children.empty()) return fail(posix(ENOTEMPTY));
  --node.attributes.nlink;
  children.erase(found);  // the node stays for those who have it open
  return {};
}

Result<fs::OpenReply> FakeFileSystem::open_node(uint64_t id, int flags) {
  Node& node = nodes_.at(id);
  ++opens_;
  if (std::exchange(node.stale, false)) {
    ++node.epoch;
    return fail(Code::kStale);
  }
  if ((flags & O_TRUNC) != 0) node.data.clear();
  fs::OpenReply reply{.handle = next_handle_++};
  if (node.object_fd >= 0 && kernel_->passthrough_available()) {
    if (node.passthrough_opens == 0) {
      TRY_ASSIGN(node.backing_id, kernel_->open_backing(node.object_fd));
    }
    ++node.passthrough_opens;
    reply.backing_id = node.backing_id;
  }
  handles_[reply.handle] = {id, {}};
  return reply;
}

void FakeFileSystem::add_file(const std::string& name, std::string data) {
  MutexLock lock(mutex_);
  const Caller owner{.uid = geteuid(), .gid = getegid()};
  nodes_.at(*add(kRootNode.value, name, S_IFREG | 0644, owner)).data = std::move(data);
}

void FakeFileSystem::set_object(const std::string& name, int fd) {
  MutexLock lock(mutex_);
  by_name(name)->object_fd = fd;
}

void FakeFileSystem::make_stale(const std::string& name) {
  MutexLock lock(mutex_);
  by_name(name)->stale = true;
}

std::string FakeFileSystem::data(const std::string& name) const {
  auto& self = const_cast<FakeFileSystem&>(*this);
  MutexLock lock(self.mutex_);
  return self.by_name(name)->data;
}

uint64_t FakeFileSystem::node_id(const std::string& name) const {
  MutexLock lock(mutex_);
  return nodes_.at(kRootNode.value).children.at(name);
}

size_t FakeFileSystem::open_handles() const {
  MutexLock lock(mutex_);
  return handles_.size();
}

uint64_t FakeFileSystem::lookups() const {
  MutexLock lock(mutex_);
  uint64_t sum = 0;
  for (const auto& [id, count] : lookups_) sum += count;
  return sum;
}

io::Reactor& FakeFileSystem::home(KernelId) {
  return reactor_;
}
void FakeFileSystem::attach(fs::KernelPort& kernel) {
  kernel_ = &kernel;
}

std::optional<Result<fs::NodeReply>> FakeFileSystem::lookup_hit(KernelId parent,
                                                                std::string_view name, pid_t) {
  if (!hits_.load()) return std::nullopt;
  MutexLock lock(mutex_);
  return look(parent.node(), std::string(name));
}

std::optional<Result<fs::AttributesReply>> FakeFileSystem::attributes_hit(KernelId id) {
  if (!hits_.load()) return std::nullopt;
  MutexLock lock(mutex_);
  ++attribute_requests_;
  return fs::AttributesReply{describe(id.node()).attributes, kTtl};
}

std::optional<Attributes> FakeFileSystem::last_seen(KernelId id) {
  MutexLock lock(mutex_);
  return describe(id.node()).attributes;
}

std::optional<Result<fs::OpenReply>> FakeFileSystem::open_hit(KernelId id, int flags, pid_t) {
  if (!hits_.load()) return std::nullopt;
  MutexLock lock(mutex_);
  return open_node(id.node(), flags);
}

bool FakeFileSystem::read_hit(uint64_t, uint64_t, size_t, fs::ReadReply&) {
  return false;
}

bool FakeFileSystem::release_hit(uint64_t handle) {
  if (!hits_.load()) return false;
  MutexLock lock(mutex_);
  drop_handle(handle);
  return true;
}

void FakeFileSystem::forget(KernelId id, uint64_t lookups) {
  MutexLock lock(mutex_);
  if (id.node() == kRootNode.value) return;
  uint64_t& count = lookups_.at(id.value);
  CHECK(count >= lookups);
  count -= lookups;
  if (count == 0) lookups_.erase(id.value);
}

void FakeFileSystem::count_lookup(const fs::DirectoryEntryReply& entry) {
  MutexLock lock(mutex_);
  ++lookups_[entry.node.id.value];
  ++listed_lookups_;
}

io::Task<Result<fs::NodeReply>> FakeFileSystem::lookup(KernelId parent, std::string name, pid_t) {
  PASS_GATE();
  co_return look(parent.node(), name);
}

io::Task<Result<fs::AttributesReply>> FakeFileSystem::attributes(KernelId id, pid_t /*asker*/) {
  PASS_GATE();
  ++attribute_requests_;
  co_return fs::AttributesReply{describe(id.node()).attributes, kTtl};
}

io::Task<Result<fs::AttributesReply>> FakeFileSystem::set_attributes(KernelId id,
                                                                     fs::AttributeChange change,
                                                                     uint64_t) {
  PASS_GATE();
  Node& node = *find(id);
  Attributes& it = node.attributes;
  if (change.permissions) it.mode = (it.mode & S_IFMT) | *change.permissions;
  it.mode &= ~change.cleared_permissions;
  if (change.uid) it.uid = *change.uid;
  if (change.gid) it.gid = *change.gid;
  if (change.size_bytes) node.data.resize(*change.size_bytes);
  const Timestamp now = Timestamp::of(Clock::system().wall());
  if (change.atime) it.times.atime = *change.atime;
  if (change.mtime) it.times.mtime = *change.mtime;
  if (change.atime_now) it.times.atime = now;
  if (change.mtime_now) it.times.mtime = now;
  co_return fs::AttributesReply{describe(id.node()).attributes, kTtl};
}

io::Task<Result<std::string>> FakeFileSystem::read_link(KernelId id) {
  PASS_GATE();
  co_return find(id)->data;
}

io::Task<Result<fs::NodeReply>> FakeFileSystem::make_node(KernelId parent, std::string name,
                                                          uint32_t mode, uint64_t rdev,
                                                          Caller caller) {
  PASS_GATE();
  CO_TRY_ASSIGN(const uint64_t id, add(parent.node(), name, mode, caller));
  nodes_.at(id).attributes.rdev = rdev;
  co_return counted(id);
}

io::Task<Result<fs::NodeReply>> FakeFileSystem::make_directory(KernelId parent, std::string name,
                                                               uint32_t mode, Caller caller) {
  PASS_GATE();
  CO_TRY_ASSIGN(const uint64_t id, add(parent.node(), name, S_IFDIR | mode, caller));
  co_return counted(id);
}

io::Task<Result<fs::NodeReply>> FakeFileSystem::make_symlink(KernelId parent, std::string name,
                                                             std::string target, Caller caller) {
  PASS_GATE();
  CO_TRY_ASSIGN(const uint64_t id, add(parent.node(), name, S_IFLNK | 0777, caller));
  nodes_.at(id).data = target;
  co_return counted(id);
}

io::Task<Result<fs::NodeReply>> FakeFileSystem::link(KernelId id, KernelId new_parent,
                                                     std::string new_name) {
  PASS_GATE();
  auto& children = nodes_.at(new_parent.node()).children;
  if (!children.emplace(new_name, id.node()).second) co_return fail(Code::kExists);
  ++find(id)->attributes.nlink;
  co_return counted(id.node());
}

io::Task<Result<void>> FakeFileSystem::unlink(KernelId parent, std::string name) {
  PASS_GATE();
  co_return remove(parent.node(), name, false);
}

io::Task<Result<void>> FakeFileSystem::remove_directory(KernelId parent, std::string name) {
  PASS_GATE();
  co_return remove(parent.node(), name, true);
}

io::Task<Result<void>> FakeFileSystem::rename(KernelId parent, std::string name,
                                              KernelId new_parent, std::string new_name,
                                              unsigned flags) {
  PASS_GATE();
  auto& from = nodes_.at(parent.node()).children;
  auto& to = nodes_.at(new_parent.node()).children;
  if (!from.contains(name)) co_return fail(Code::kNotFound);
  if ((flags & RENAME_NOREPLACE) != 0 && to.contains(new_name)) co_return fail(Code::kExists);
  if ((flags & RENAME_EXCHANGE) != 0) {
    if (!to.contains(new_name)) co_return fail(Code::kNotFound);
    std::swap(from[name], to[new_name]);
  } else {
    const uint64_t id = from.at(name);
    from.erase(name);
    to[new_name] = id;
  }
  co_return Result<void>{};
}

io::Task<Result<fs::OpenReply>> FakeFileSystem::open(KernelId id, int flags, pid_t) {
  PASS_GATE();
  co_return open_node(id.node(), flags);
}

io::Task<Result<fs::CreateReply>> FakeFileSystem::create(KernelId parent, std::string name,
                                                         uint32_t mode, int flags, Caller caller) {
  PASS_GATE();
  CO_TRY_ASSIGN(const uint64_t id, add(parent.node(), name, mode, caller));
  CO_TRY_ASSIGN(const fs::OpenReply opened, open_node(id, flags));
  co_return fs::CreateReply{counted(id), opened};
}

// One slice for each half, so that replies of several parts are sent too.
io::Task<Result<fs::ReadReply>> FakeFileSystem::read(uint64_t handle, uint64_t offset,
                                                     size_t length) {
  static buffer::Pool pool(64 << 20);
  PASS_GATE();
  ++reads_;
  const std::string& data = by_handle(handle)->data;
  fs::ReadReply reply;
  if (offset >= data.size()) co_return reply;
  const std::string_view part = std::string_view(data).substr(offset, length);
  buffer::BufferRef buffer = pool.allocate(part.size());
  std::memcpy(buffer.bytes().data(), part.data(), part.size());
  const size_t half = part.size() / 2;
  if (half > 0) reply.slices.push_back({.buffer = buffer, .buffer_offset = 0, .length = half});
  reply.slices.push_back({.buffer = buffer, .buffer_offset = half, .length = part.size() - half});
  co_return reply;
}

io::Task<Result<size_t>> FakeFileSystem::write(uint64_t handle, buffer::BufferRef from,
                                               uint64_t offset, int /*flags*/) {
  PASS_GATE();
  std::string& data = by_handle(handle)->data;
  const auto bytes = from.data();
  data.resize(std::max(data.size(), offset + bytes.size()));
  std::memcpy(data.data() + offset, bytes.data(), bytes.size());
  co_return bytes.size();
}

io::Task<Result<void>> FakeFileSystem::flush(uint64_t) {
  PASS_GATE();
  ++flushes_;
  co_return Result<void>{};
}

io::Task<Result<void>> FakeFileSystem::sync(uint64_t handle, bool) {
  PASS_GATE();
  if (by_handle(handle) == nullptr) co_return fail(posix(EBADF));
  co_return Result<void>{};
}

io::Task<void> FakeFileSystem::release(uint64_t handle) {
  PASS_GATE();
  drop_handle(handle);
}

void FakeFileSystem::drop_handle(uint64_t handle) {
  Node* node = by_handle(handle);
  CHECK(node != nullptr);
  if (node->passthrough_opens > 0 && --node->passthrough_opens == 0)
    kernel_->close_backing(node->backing_id);
  handles_.erase(handle);
}

io::Task<Result<void>> FakeFileSystem::allocate(uint64_t handle, int mode, uint64_t offset,
                                                uint64_t length) {
  PASS_GATE();
  if (mode != 0) co_return fail(Code::kNotSupported);
  std::string& data = by_handle(handle)->data;
  data.resize(std::max(data.size(), offset + length));
  co_return Result<void>{};
}

io::Task<Result<uint64_t>> FakeFileSystem::seek(uint64_t handle, uint64_t offset, int whence) {
  PASS_GATE();
  const std::string& data = by_handle(handle)->data;
  if (offset >= data.size()) co_return fail(posix(ENXIO));
  co_return whence == SEEK_HOLE ? data.size() : offset;
}

io::Task<Result<size_t>> FakeFileSystem::copy_range(uint64_t handle, uint64_t offset,
                                                    uint64_t to_handle, uint64_t to_offset,
                                                    size_t length) {
  PASS_GATE();
  const std::string& from = by_handle(handle)->data;
  const std::string part = offset < from.size() ? from.substr(offset, length) : std::string();
  std::string& to = by_handle(to_handle)->data;
  to.resize(std::max(to.size(), to_offset + part.size()));
  to.replace(to_offset, part.size(), part);
  co_return part.size();
}

io::Task<Result<uint64_t>> FakeFileSystem::open_directory(KernelId id) {
  PASS_GATE();
  const uint64_t handle = next_handle_++;
  handles_[handle] = {id.node(), {}};
  co_return handle;
}

io::Task<Result<std::vector<fs::DirectoryEntryReply>>> FakeFileSystem::read_directory(
    uint64_t handle, uint64_t offset, size_t budget_bytes, bool with_attributes) {
  PASS_GATE();
  Handle& it = handles_.at(handle);
  const Node& directory = nodes_.at(it.node);
  if (offset == 0) {
    it.names = {".", ".."};
    for (const auto& [name, id] : directory.children) it.names.push_back(name);
  }
  std::vector<fs::DirectoryEntryReply> entries;
  for (uint64_t i = offset; i < it.names.size() && budget_bytes > 0; ++i) {
    const std::string& name = it.names[i];
    const bool dots = i < 2;
    if (!dots && !directory.children.contains(name)) continue;
    const uint64_t id = dots ? it.node : directory.children.at(name);
    fs::DirectoryEntryReply entry{.name = name,
                                  .inode = id,
                                  .type = nodes_.at(id).attributes.mode & S_IFMT,
                                  .next_offset = i + 1,
                                  .node = {},
                                  .pin = {}};
    if (with_attributes) entry.node = describe(id);
    entries.push_back(std::move(entry));
    budget_bytes -= std::min(budget_bytes, name.size());
  }
  co_return entries;
}

void FakeFileSystem::release_directory(uint64_t handle) {
  MutexLock lock(mutex_);
  CHECK(handles_.erase(handle) == 1);
}

io::Task<Result<void>> FakeFileSystem::sync_directory(uint64_t, bool) {
  PASS_GATE();
  co_return Result<void>{};
}

io::Task<Result<struct statvfs>> FakeFileSystem::space() {
  PASS_GATE();
  struct statvfs result{};
  result.f_bsize = result.f_frsize = 4096;
  result.f_blocks = 1000;
  result.f_bfree = result.f_bavail = 500;
  result.f_files = nodes_.size();
  result.f_namemax = 255;
  co_return result;
}

io::Task<Result<std::string>> FakeFileSystem::get_xattr(KernelId id, std::string name) {
  PASS_GATE();
  const auto& xattrs = find(id)->xattrs;
  const auto found = xattrs.find(name);
  if (found == xattrs.end()) co_return fail(posix(ENODATA));
  co_return found->second;
}

io::Task<Result<void>> FakeFileSystem::set_xattr(KernelId id, std::string name, std::string value,
                                                 int flags, std::optional<Credentials>) {
  PASS_GATE();
  auto& xattrs = find(id)->xattrs;
  if ((flags & XATTR_CREATE) != 0 && xattrs.contains(name)) co_return fail(Code::kExists);
  if ((flags & XATTR_REPLACE) != 0 && !xattrs.contains(name)) co_return fail(posix(ENODATA));
  xattrs[name] = value;
  co_return Result<void>{};
}

io::Task<Result<std::vector<std::string>>> FakeFileSystem::list_xattr(KernelId id) {
  PASS_GATE();
  std::vector<std::string> names;
  for (const auto& [name, value] : find(id)->xattrs) names.push_back(name);
  co_return names;
}

io::Task<Result<void>> FakeFileSystem::remove_xattr(KernelId id, std::string name) {
  PASS_GATE();
  if (find(id)->xattrs.erase(name) == 0) co_return fail(posix(ENODATA));
  co_return Result<void>{};
}

}  // namespace larder::testing
