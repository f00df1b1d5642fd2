#include "fuse/adapter.h"

#include <algorithm>

#include "fuse/convert.h"
#include "fuse/errno_map.h"

namespace larder::fuse {
namespace {

constexpr uint32_t kRequestBytesMax = 1 << 20;  // the kernel's own limit: 256 pages
constexpr uint32_t kBackgroundMax = 256;
constexpr uint32_t kCongestion = kBackgroundMax * 3 / 4;

void init(void* userdata, fuse_conn_info* connection) {
  auto& adapter = *static_cast<Adapter*>(userdata);
  constexpr unsigned kWanted =
      FUSE_CAP_ASYNC_READ | FUSE_CAP_ASYNC_DIO | FUSE_CAP_PARALLEL_DIROPS |
      FUSE_CAP_ATOMIC_O_TRUNC | FUSE_CAP_POSIX_ACL | FUSE_CAP_DONT_MASK | FUSE_CAP_EXPORT_SUPPORT |
      FUSE_CAP_READDIRPLUS | FUSE_CAP_READDIRPLUS_AUTO | FUSE_CAP_CACHE_SYMLINKS |
      FUSE_CAP_EXPLICIT_INVAL_DATA | FUSE_CAP_POSIX_LOCKS | FUSE_CAP_FLOCK_LOCKS;
  // Not wanted, whatever libfuse thinks: the write-back cache would make the kernel the owner of
  // sizes and times; HANDLE_KILLPRIV would leave set-id bits to us without saving anything (see
  // fuse/set_id.h); pages are invalidated by larder, not on a changed mtime; requests are small
  // enough that a copy beats three splices.
  constexpr unsigned kUnwanted = FUSE_CAP_WRITEBACK_CACHE | FUSE_CAP_HANDLE_KILLPRIV |
                                 FUSE_CAP_AUTO_INVAL_DATA | FUSE_CAP_SPLICE_READ |
                                 FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE;
  connection->want |= kWanted & connection->capable;
  connection->want &= ~kUnwanted;
  connection->max_write = std::min(connection->max_write, kRequestBytesMax);
  connection->max_read = kRequestBytesMax;  // the same as in the mount options
  connection->max_background = kBackgroundMax;
  connection->congestion_threshold = kCongestion;
  adapter.passthrough.negotiate(*connection);
}

}  // namespace

Passthrough& passthrough_of(void* userdata) {
  return static_cast<Adapter*>(userdata)->passthrough;
}

Adapter::Adapter(fs::FileSystem& file_system, buffer::Pool& buffers, const Clock& time,
                 Passthrough& kernel, VirtualTree& tree, fs::LockTable& lock_table,
                 Registry& registry)
    : files(file_system),
      pool(buffers),
      clock(time),
      passthrough(kernel),
      virtual_tree(tree),
      locks(lock_table),
      slow_latency(registry.histogram("larder_slow_request_seconds",
                                      "Requests that left their worker, from there to the reply.")),
      hits(registry.counter("larder_requests_total", "Requests of the kernel.", {{"path", "hit"}})),
      slow(registry.counter("larder_requests_total", "Requests of the kernel.",
                            {{"path", "slow"}})) {}

const fuse_lowlevel_ops& Adapter::operations() {
  static const fuse_lowlevel_ops operations = [] {
    fuse_lowlevel_ops ops{};
    ops.init = init;
    add_namespace_operations(ops);
    add_file_operations(ops);
    add_directory_operations(ops);
    add_xattr_operations(ops);
    add_lock_operations(ops);
    return ops;
  }();
  return operations;
}

void HandleLocks::note(uint64_t handle, uint64_t owner) {
  MutexLock lock(mutex_);
  auto& owners = owners_[handle];
  if (std::ranges::find(owners, owner) == owners.end()) owners.push_back(owner);
  count_.store(owners_.size(), std::memory_order_release);
}

std::vector<uint64_t> HandleLocks::take(uint64_t handle) {
  if (count_.load(std::memory_order_acquire) == 0) return {};
  MutexLock lock(mutex_);
  const auto found = owners_.find(handle);
  if (found == owners_.end()) return {};
  std::vector<uint64_t> owners = std::move(found->second);
  owners_.erase(found);
  count_.store(owners_.size(), std::memory_order_release);
  return owners;
}

void reply_status(Responder& responder, const Result<void>& result) {
  if (result)
    responder.status(0);
  else
    responder.error(result.error());
}

void reply_node(Adapter& adapter, Responder& responder, const Result<fs::NodeReply>& result) {
  if (!result) {
    responder.error(result.error());
    return;
  }
  const fuse_entry_param entry = entry_of(*result);
  const bool taken =
      responder.send([&](fuse_req_t request) { return fuse_reply_entry(request, &entry); });
  if (!taken && entry.ino != 0) adapter.files.forget(result->id, 1);
}

void reply_attributes(Responder& responder, const Result<fs::AttributesReply>& result) {
  if (!result) {
    responder.error(result.error());
    return;
  }
  const struct stat attributes = stat_of(result->attributes);
  responder.send([&](fuse_req_t request) {
    return fuse_reply_attr(request, &attributes, seconds(result->ttl));
  });
}

}  // namespace larder::fuse
