// Open files.
#include <fcntl.h>

#include <cstring>

#include "fuse/adapter.h"
#include "fuse/convert.h"
#include "fuse/errno_map.h"
#include "fuse/read_reply.h"
#include "fuse/set_id.h"

namespace larder::fuse {
namespace {

using fs::KernelId;

OpenMode mode_of(const fs::OpenReply& open, int flags) {
  return {.handle = FileHandle(open.handle, flags).value(),
          .backing_id = open.backing_id,
          .keep_cache = open.keep_cache && open.backing_id == 0,
          .direct_io = open.direct_io};
}

// The kernel did not take a handle: nobody else will release it.
io::Task<void> release_unused(Adapter* adapter, uint64_t handle) {
  io::Task<void> release = adapter->files.release(handle);
  co_await std::move(release);
  adapter->in_flight.leave();
}

void give_back(Adapter& adapter, KernelId id, uint64_t handle) {
  adapter.in_flight.enter();
  adapter.files.home(id).spawn(release_unused(&adapter, handle));
}

void reply_open(Adapter& adapter, Responder& responder, KernelId id, const fuse_file_info& info,
                const Result<fs::OpenReply>& result) {
  if (!result) return void(responder.error(result.error()));
  const OpenMode mode = mode_of(*result, info.flags);
  const bool taken = responder.send(
      [&](fuse_req_t request) { return Passthrough::reply_open(request, info, mode); });
  if (!taken) give_back(adapter, id, result->handle);
}

void open(fuse_req_t request, fuse_ino_t id, fuse_file_info* info) {
  Adapter& adapter = Adapter::of(request);
  if (VirtualTree::owns(id)) return adapter.virtual_tree.open(request, id, *info);
  const pid_t opener = fuse_req_ctx(request)->pid;
  if (const auto hit = adapter.files.open_hit(KernelId{id}, info->flags, opener)) {
    adapter.hits.add();
    Responder responder(request);
    return reply_open(adapter, responder, KernelId{id}, *info, *hit);
  }
  const auto reply = [&adapter, id, info = *info](Responder& responder,
                                                  const Result<fs::OpenReply>& result) {
    reply_open(adapter, responder, KernelId{id}, info, result);
  };
  io::Task<Result<fs::OpenReply>> task = adapter.files.open(KernelId{id}, info->flags, opener);
  if ((info->flags & O_TRUNC) == 0)
    return adapter.spawn_killable(KernelId{id}, request, std::move(task), reply);
  // A change is waited for: the kernel must know that the file is empty now.
  const uint32_t bits = lost_set_id(request, adapter, KernelId{id});
  adapter.spawn(KernelId{id}, request,
                without_set_id(adapter, KernelId{id}, 0, bits, std::move(task)), reply);
}

void reply_create(Adapter& adapter, Responder& responder, const fuse_file_info& info,
                  const Result<fs::CreateReply>& result) {
  if (!result) return void(responder.error(result.error()));
  const fuse_entry_param entry = entry_of(result->node);
  const OpenMode mode = mode_of(result->open, info.flags);
  const bool taken = responder.send(
      [&](fuse_req_t request) { return Passthrough::reply_create(request, entry, info, mode); });
  if (taken) return;
  adapter.files.forget(result->node.id, 1);
  give_back(adapter, result->node.id, result->open.handle);
}

void create(fuse_req_t request, fuse_ino_t parent, const char* name, mode_t mode,
            fuse_file_info* info) {
  Adapter& adapter = Adapter::of(request);
  if (VirtualTree::owns(parent) || adapter.virtual_tree.is_entry(parent, name))
    return void(fuse_reply_err(request, EPERM));
  adapter.spawn(
      KernelId{parent}, request,
      adapter.files.create(KernelId{parent}, name, mode, info->flags, caller_of(request)),
      [&adapter, info = *info](Responder& responder, const Result<fs::CreateReply>& result) {
        reply_create(adapter, responder, info, result);
      });
}

void read(fuse_req_t request, fuse_ino_t id, size_t length, off_t offset, fuse_file_info* info) {
  Adapter& adapter = Adapter::of(request);
  const auto from = static_cast<uint64_t>(offset);
  if (VirtualTree::owns(id)) return adapter.virtual_tree.read(request, info->fh, from, length);
  const uint64_t handle = FileHandle(*info).handle();
  thread_local fs::ReadReply hit;
  hit.clear();
  if (adapter.files.read_hit(handle, from, length, hit)) {
    adapter.hits.add();
    Responder responder(request);
    send_slices(responder, hit);
    hit.clear();
    return;
  }
  adapter.spawn_killable(KernelId{id}, request, adapter.files.read(handle, from, length),
                         [](Responder& responder, const Result<fs::ReadReply>& result) {
                           if (!result) return void(responder.error(result.error()));
                           send_slices(responder, *result);
                         });
}

// --- write

struct WriteAt {
  KernelId id;
  uint64_t offset = 0;
  int flags = 0;
  uint32_t lost_set_id = 0;
};

// Data that found no pooled buffer wait here, on the heap, for one to come free.
constexpr size_t kParkedBytesMax = 256 << 20;
constexpr Nanos kPauseMin = std::chrono::milliseconds(1);
constexpr Nanos kPauseMax = std::chrono::milliseconds(100);
constexpr Nanos kParkedTimeMax = std::chrono::seconds(60);

void reply_written(Responder& responder, const Result<size_t>& written) {
  if (!written) return void(responder.error(written.error()));
  responder.send([&](fuse_req_t request) { return fuse_reply_write(request, *written); });
}

io::Task<void> write_parked(Adapter* adapter, Responder responder, io::Reactor* home,
                            uint64_t handle, std::vector<char> data, WriteAt at) {
  buffer::BufferRef buffer;
  Nanos pause = kPauseMin;
  const Nanos start = adapter->clock.monotonic();
  while (!(buffer = adapter->pool.allocate(data.size())) &&
         adapter->clock.monotonic() - start < kParkedTimeMax) {
    io::Task<void> sleep = home->sleep(pause);
    co_await std::move(sleep);
    pause = std::min(2 * pause, kPauseMax);
  }
  adapter->parked.bytes.fetch_sub(data.size());
  if (!buffer) {
    responder.status(ENOMEM);
    co_return;
  }
  std::memcpy(buffer.bytes().data(), data.data(), data.size());
  buffer.set_size(data.size());
  std::vector<char>().swap(data);
  io::Task<Result<size_t>> write =
      without_set_id(*adapter, at.id, handle, at.lost_set_id,
                     adapter->files.write(handle, std::move(buffer), at.offset, at.flags));
  const Result<size_t> written = co_await std::move(write);
  reply_written(responder, written);
}

void park_write(Adapter& adapter, fuse_req_t request, uint64_t handle, std::string_view data,
                WriteAt at) {
  if (adapter.parked.bytes.fetch_add(data.size()) + data.size() > kParkedBytesMax) {
    adapter.parked.bytes.fetch_sub(data.size());
    fuse_reply_err(request, ENOMEM);
    return;
  }
  io::Reactor& home = adapter.files.home(at.id);
  home.spawn(write_parked(&adapter, Responder(request, home, adapter.in_flight), &home, handle,
                          std::vector<char>(data.begin(), data.end()), at));
}

void write(fuse_req_t request, fuse_ino_t id, const char* data, size_t length, off_t offset,
           fuse_file_info* info) {
  Adapter& adapter = Adapter::of(request);
  if (VirtualTree::owns(id))
    return adapter.virtual_tree.write(request, id, info->fh, {data, length});
  if (length == 0) return void(fuse_reply_write(request, 0));
  const uint64_t handle = FileHandle(*info).handle();
  WriteAt at{.id = KernelId{id}, .offset = static_cast<uint64_t>(offset)};
  // Pages that were changed through a mapping come through any handle open for writing, from
  // nobody.
  if (info->writepage == 0) {
    at.flags = info->flags;
    at.lost_set_id = lost_set_id(request, adapter, KernelId{id});
  }
  // `data` is the worker's, and the worker goes on.
  buffer::BufferRef buffer = adapter.pool.allocate(length);
  if (!buffer) return park_write(adapter, request, handle, {data, length}, at);
  std::memcpy(buffer.bytes().data(), data, length);
  buffer.set_size(length);
  adapter.spawn(KernelId{id}, request,
                without_set_id(adapter, at.id, handle, at.lost_set_id,
                               adapter.files.write(handle, std::move(buffer), at.offset, at.flags)),
                reply_written);
}

// --- closing

void flush(fuse_req_t request, fuse_ino_t id, fuse_file_info* info) {
  Adapter& adapter = Adapter::of(request);
  if (VirtualTree::owns(id)) return void(fuse_reply_err(request, 0));
  const FileHandle file(*info);
  adapter.locks.release_posix(NodeId{KernelId{id}.node()}, info->lock_owner);
  if (file.read_only()) return void(fuse_reply_err(request, 0));
  adapter.spawn(KernelId{id}, request, adapter.files.flush(file.handle()), reply_status);
}

io::Task<Result<void>> released(Adapter* adapter, uint64_t handle) {
  io::Task<void> release = adapter->files.release(handle);
  co_await std::move(release);
  co_return Result<void>{};
}

void release(fuse_req_t request, fuse_ino_t id, fuse_file_info* info) {
  Adapter& adapter = Adapter::of(request);
  if (VirtualTree::owns(id)) return adapter.virtual_tree.release(request, info->fh);
  const NodeId node{KernelId{id}.node()};
  if (info->flock_release) adapter.locks.release_flock(node, info->lock_owner);
  for (const uint64_t owner : adapter.handle_locks.take(info->fh))
    adapter.locks.release_posix(node, owner);
  if (adapter.files.release_hit(FileHandle(*info).handle())) {
    adapter.hits.add();
    return void(fuse_reply_err(request, 0));
  }
  adapter.spawn(KernelId{id}, request, released(&adapter, FileHandle(*info).handle()),
                reply_status);
}

void fsync(fuse_req_t request, fuse_ino_t id, int data_only, fuse_file_info* info) {
  Adapter& adapter = Adapter::of(request);
  if (VirtualTree::owns(id)) return void(fuse_reply_err(request, 0));
  adapter.spawn(KernelId{id}, request,
                adapter.files.sync(FileHandle(*info).handle(), data_only != 0), reply_status);
}

// --- ranges

void fallocate(fuse_req_t request, fuse_ino_t id, int mode, off_t offset, off_t length,
               fuse_file_info* info) {
  Adapter& adapter = Adapter::of(request);
  if (VirtualTree::owns(id)) return void(fuse_reply_err(request, EOPNOTSUPP));
  const uint64_t handle = FileHandle(*info).handle();
  io::Task<Result<void>> task = adapter.files.allocate(handle, mode, static_cast<uint64_t>(offset),
                                                       static_cast<uint64_t>(length));
  const uint32_t bits = lost_set_id(request, adapter, KernelId{id});
  adapter.spawn(KernelId{id}, request,
                without_set_id(adapter, KernelId{id}, handle, bits, std::move(task)), reply_status);
}

void lseek(fuse_req_t request, fuse_ino_t id, off_t offset, int whence, fuse_file_info* info) {
  Adapter& adapter = Adapter::of(request);
  if (VirtualTree::owns(id)) return void(fuse_reply_err(request, EINVAL));
  adapter.spawn_killable(
      KernelId{id}, request,
      adapter.files.seek(FileHandle(*info).handle(), static_cast<uint64_t>(offset), whence),
      [](Responder& responder, const Result<uint64_t>& found) {
        if (!found) return void(responder.error(found.error()));
        responder.send(
            [&](fuse_req_t to) { return fuse_reply_lseek(to, static_cast<off_t>(*found)); });
      });
}

void copy_file_range(fuse_req_t request, fuse_ino_t id, off_t offset, fuse_file_info* info,
                     fuse_ino_t to_id, off_t to_offset, fuse_file_info* to_info, size_t length,
                     int flags) {
  Adapter& adapter = Adapter::of(request);
  if (VirtualTree::owns(id) || VirtualTree::owns(to_id))
    return void(fuse_reply_err(request, EXDEV));  // the kernel copies by reading and writing
  if (flags != 0) return void(fuse_reply_err(request, EINVAL));
  const uint64_t to_handle = FileHandle(*to_info).handle();
  io::Task<Result<size_t>> task =
      adapter.files.copy_range(FileHandle(*info).handle(), static_cast<uint64_t>(offset), to_handle,
                               static_cast<uint64_t>(to_offset), length);
  const uint32_t bits = lost_set_id(request, adapter, KernelId{to_id});
  adapter.spawn(KernelId{id}, request,
                without_set_id(adapter, KernelId{to_id}, to_handle, bits, std::move(task)),
                reply_written);
}

}  // namespace

void add_file_operations(fuse_lowlevel_ops& operations) {
  operations.open = open;
  operations.create = create;
  operations.read = read;
  operations.write = write;
  operations.flush = flush;
  operations.release = release;
  operations.fsync = fsync;
  operations.fallocate = fallocate;
  operations.lseek = lseek;
  operations.copy_file_range = copy_file_range;
}

}  // namespace larder::fuse
