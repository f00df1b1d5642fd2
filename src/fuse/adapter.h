// fuse_lowlevel_ops: decode a request, ask fs/, reply.
//
// What can be answered at once is answered on the worker by a *_hit function; everything else
// becomes a coroutine on the node's home reactor, and the worker goes on.  No worker waits for
// anything.
#pragma once

#include <atomic>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/clock.h"
#include "base/metrics.h"
#include "base/mutex.h"
#include "buffer/pool.h"
#include "fs/file_system.h"
#include "fs/locks.h"
#include "fuse/libfuse.h"
#include "fuse/passthrough.h"
#include "fuse/responder.h"
#include "fuse/virtual_tree.h"

namespace larder::fuse {

// What the kernel gets as a file handle: fs/'s handle, and whether a close has nothing to flush.
class FileHandle {
 public:
  FileHandle(uint64_t handle, int flags)
      : value_(handle | ((flags & (O_ACCMODE | O_TRUNC)) == O_RDONLY ? kReadOnly : 0)) {
    CHECK((handle & kReadOnly) == 0);
  }
  explicit FileHandle(const fuse_file_info& info) : value_(info.fh) {}
  uint64_t value() const { return value_; }
  uint64_t handle() const { return value_ & ~kReadOnly; }
  bool read_only() const { return (value_ & kReadOnly) != 0; }

 private:
  static constexpr uint64_t kReadOnly = 1ULL << 63;
  uint64_t value_;
};

// Locks taken through a handle by owners that no flush tells of (open file description locks).
class HandleLocks {
 public:
  void note(uint64_t handle, uint64_t owner);
  std::vector<uint64_t> take(uint64_t handle);

 private:
  Mutex mutex_;
  std::unordered_map<uint64_t, std::vector<uint64_t>> owners_ GUARDED_BY(mutex_);
  std::atomic<size_t> count_{0};
};

// A request's payload on its way to fs/ while no pooled buffer is to be had; see adapter_file.cc.
struct ParkedBytes {
  std::atomic<size_t> bytes{0};
};

struct Adapter {
  fs::FileSystem& files;
  buffer::Pool& pool;
  const Clock& clock;
  Passthrough& passthrough;
  VirtualTree& virtual_tree;
  fs::LockTable& locks;
  Histogram& slow_latency;
  Counter& hits;
  Counter& slow;
  InFlight in_flight{};
  HandleLocks handle_locks{};
  ParkedBytes parked{};

  Adapter(fs::FileSystem& file_system, buffer::Pool& buffers, const Clock& time,
          Passthrough& kernel, VirtualTree& tree, fs::LockTable& lock_table, Registry& registry);

  static Adapter& of(fuse_req_t request) {
    return *static_cast<Adapter*>(fuse_req_userdata(request));
  }
  // The session's userdata is an Adapter.
  static const fuse_lowlevel_ops& operations();

  // Runs `task` on id's home reactor and passes its result to reply(Responder&, result).
  template <class T, class Reply>
  void spawn(fs::KernelId id, fuse_req_t request, io::Task<T> task, Reply reply) {
    io::Reactor& home = files.home(id);
    Responder responder(request, home, in_flight);
    home.spawn(answer(this, std::move(task), std::move(responder), std::move(reply)));
  }
  // The same; a caller that is killed meanwhile is let go.
  template <class T, class Reply>
  void spawn_killable(fs::KernelId id, fuse_req_t request, io::Task<T> task, Reply reply) {
    io::Reactor& home = files.home(id);
    Responder responder(request, home, in_flight);
    responder.give_up_when_killed();
    home.spawn(answer(this, std::move(task), std::move(responder), std::move(reply)));
  }

 private:
  template <class T, class Reply>
  static io::Task<void> answer(Adapter* adapter, io::Task<T> task, Responder responder,
                               Reply reply) {
    adapter->slow.add();
    const Timed timed(adapter->slow_latency, adapter->clock);
    T result = co_await std::move(task);
    reply(responder, std::move(result));
  }
};

// Replies used by several groups of operations.
void reply_status(Responder& responder, const Result<void>& result);
// Gives the lookup back when the kernel did not take the reply.
void reply_node(Adapter& adapter, Responder& responder, const Result<fs::NodeReply>& result);
void reply_attributes(Responder& responder, const Result<fs::AttributesReply>& result);

// The groups: adapter_namespace.cc, adapter_file.cc, adapter_directory.cc, adapter_xattr.cc,
// adapter_locks.cc.
void add_namespace_operations(fuse_lowlevel_ops& operations);
void add_file_operations(fuse_lowlevel_ops& operations);
void add_directory_operations(fuse_lowlevel_ops& operations);
void add_xattr_operations(fuse_lowlevel_ops& operations);
void add_lock_operations(fuse_lowlevel_ops& operations);

}  // namespace larder::fuse
