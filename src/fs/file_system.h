// The file system as fuse/ sees it: POSIX semantics, no FUSE type.
//
// Two kinds of functions.  The *_hit functions are plain, quick, called on the thread that received
// the request, and give nullopt (or false) when they cannot answer from memory or the local disk's
// page cache: nothing has happened then.  All others are coroutines to be spawned on home(id); only
// they may wait for the source.
//
// Each NodeReply with a non-zero id counts as one lookup of that kernel id, to be given back by
// forget(); if a reply does not reach the kernel, the caller forgets it at once.  A handle lives
// from open/create to release. Thread-safe.  Errors are those of POSIX as Code, plus larder's own.
#pragma once

#include <sys/statvfs.h>
#include <sys/types.h>

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/attributes.h"
#include "base/clock.h"
#include "base/error.h"
#include "buffer/pool.h"
#include "cache/slice.h"
#include "fs/kernel_port.h"
#include "io/reactor.h"
#include "io/task.h"
#include "source/source.h"

namespace larder::fs {

using AttributeChange = source::AttributeChange;

struct AttributesReply {
  Attributes attributes;  // inode is the node id: what st_ino shows
  Nanos ttl{0};           // how long the kernel may believe it
};

// id 0: there is no such name, and the kernel may believe that for entry_ttl.
struct NodeReply {
  KernelId id;
  Attributes attributes;
  Nanos attributes_ttl{0};
  Nanos entry_ttl{0};
};

struct OpenReply {
  uint64_t handle = 0;
  int32_t backing_id = 0;   // > 0: open in passthrough to it
  bool keep_cache = false;  // the kernel's pages of this inode are still right
  // Each read and write comes here, whatever the size; with backing_id mappings are of the object.
  bool direct_io = false;
};

struct CreateReply {
  NodeReply node;
  OpenReply open;
};

// Part of the answer to a read.  A file_fd is valid until the reply is sent and `pin` dropped.
using ReadSlice = cache::Slice;

// In file order, without gaps; the sum of the lengths is short only at the end of the file.
struct ReadReply {
  std::vector<ReadSlice> slices;
  std::shared_ptr<const void> pin;  // keeps file_fd open
  void clear() {
    slices.clear();
    pin.reset();
  }
};

struct DirectoryEntryReply {
  std::string name;
  uint64_t inode = 0;
  uint32_t type = 0;         // S_IFMT bits
  uint64_t next_offset = 0;  // where a later read_directory goes on
  // With attributes wanted: node.id is 0 when they could not be had.  Not yet counted as a lookup:
  // call count_lookup for those that are sent to the kernel.
  NodeReply node;
  std::shared_ptr<void> pin;
};

class FileSystem {
 public:
  virtual ~FileSystem() = default;

  // The reactor on which the slow functions for this node must be spawned.
  virtual io::Reactor& home(KernelId id) = 0;
  // Must be called once before any request.
  virtual void attach(KernelPort& kernel) = 0;

  // --- answered at once or not at all
  // asker, opener: the thread for which the kernel asks, as this process knows it.
  virtual std::optional<Result<NodeReply>> lookup_hit(KernelId parent, std::string_view name,
                                                      pid_t asker) = 0;
  virtual std::optional<Result<AttributesReply>> attributes_hit(KernelId id) = 0;
  // Whatever their age; nullopt for a node that is not in memory.
  virtual std::optional<Attributes> last_seen(KernelId id) = 0;
  virtual std::optional<Result<OpenReply>> open_hit(KernelId id, int flags, pid_t opener) = 0;
  // Fills `reply` (cleared before) and returns true, or returns false.
  virtual bool read_hit(uint64_t handle, uint64_t offset, size_t length, ReadReply& reply) = 0;
  // The last reference to the handle is gone, which then is no more; or false: release() must do
  // it.
  virtual bool release_hit(uint64_t handle) = 0;
  virtual void forget(KernelId id, uint64_t lookups) = 0;
  virtual void count_lookup(const DirectoryEntryReply& entry) = 0;

  // --- namespace
  virtual io::Task<Result<NodeReply>> lookup(KernelId parent, std::string name, pid_t asker) = 0;
  // kStale: as for open().
  virtual io::Task<Result<AttributesReply>> attributes(KernelId id, pid_t asker) = 0;
  // handle: the open file the change came through, or 0.
  virtual io::Task<Result<AttributesReply>> set_attributes(KernelId id, AttributeChange change,
                                                           uint64_t handle) = 0;
  virtual io::Task<Result<std::string>> read_link(KernelId id) = 0;
  virtual io::Task<Result<NodeReply>> make_node(KernelId parent, std::string name, uint32_t mode,
                                                uint64_t rdev, Caller caller) = 0;
  virtual io::Task<Result<NodeReply>> make_directory(KernelId parent, std::string name,
                                                     uint32_t mode, Caller caller) = 0;
  virtual io::Task<Result<NodeReply>> make_symlink(KernelId parent, std::string name,
                                                   std::string target, Caller caller) = 0;
  virtual io::Task<Result<NodeReply>> link(KernelId id, KernelId new_parent,
                                           std::string new_name) = 0;
  virtual io::Task<Result<void>> unlink(KernelId parent, std::string name) = 0;
  virtual io::Task<Result<void>> remove_directory(KernelId parent, std::string name) = 0;
  // flags as renameat2(2): RENAME_NOREPLACE, RENAME_EXCHANGE.
  virtual io::Task<Result<void>> rename(KernelId parent, std::string name, KernelId new_parent,
                                        std::string new_name, unsigned flags) = 0;

  // --- files.  flags as open(2).  kStale: look the name up again (see KernelId); the kernel does
  // so once only for one open(2), so the opening thread (0: not known) is sent back once.
  virtual io::Task<Result<OpenReply>> open(KernelId id, int flags, pid_t opener) = 0;
  virtual io::Task<Result<CreateReply>> create(KernelId parent, std::string name, uint32_t mode,
                                               int flags, Caller caller) = 0;
  virtual io::Task<Result<ReadReply>> read(uint64_t handle, uint64_t offset, size_t length) = 0;
  // Writes the buffer's data(); the count is all of it or an error.
  // flags: those of open(2) that the handle has by now: O_APPEND writes at the end of the file,
  // wherever that is, O_DIRECT past the kernel's pages.
  virtual io::Task<Result<size_t>> write(uint64_t handle, buffer::BufferRef data, uint64_t offset,
                                         int flags) = 0;
  virtual io::Task<Result<void>> flush(uint64_t handle) = 0;
  virtual io::Task<Result<void>> sync(uint64_t handle, bool data_only) = 0;
  virtual io::Task<void> release(uint64_t handle) = 0;
  virtual io::Task<Result<void>> allocate(uint64_t handle, int mode, uint64_t offset,
                                          uint64_t length) = 0;
  virtual io::Task<Result<uint64_t>> seek(uint64_t handle, uint64_t offset, int whence) = 0;
  virtual io::Task<Result<size_t>> copy_range(uint64_t handle, uint64_t offset, uint64_t to_handle,
                                              uint64_t to_offset, size_t length) = 0;

  // --- directories
  virtual io::Task<Result<uint64_t>> open_directory(KernelId id) = 0;
  // Entries from `offset` on (0 is the start and takes a fresh snapshot), as many as fit
  // `budget_bytes` of names roughly; empty at the end.  Includes "." and "..".
  virtual io::Task<Result<std::vector<DirectoryEntryReply>>> read_directory(
      uint64_t handle, uint64_t offset, size_t budget_bytes, bool with_attributes) = 0;
  virtual void release_directory(uint64_t handle) = 0;
  virtual io::Task<Result<void>> sync_directory(uint64_t handle, bool data_only) = 0;

  // --- the rest
  virtual io::Task<Result<struct statvfs>> space() = 0;
  virtual io::Task<Result<std::string>> get_xattr(KernelId id, std::string name) = 0;
  // as: see source::Source.
  virtual io::Task<Result<void>> set_xattr(KernelId id, std::string name, std::string value,
                                           int flags, std::optional<Credentials> as) = 0;
  virtual io::Task<Result<std::vector<std::string>>> list_xattr(KernelId id) = 0;
  virtual io::Task<Result<void>> remove_xattr(KernelId id, std::string name) = 0;
};

}  // namespace larder::fs
