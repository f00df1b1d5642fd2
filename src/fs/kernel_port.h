// What fs/ asks of the kernel's side of the mount; fuse/ implements it.  No FUSE type here.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "base/error.h"

namespace larder::fs {

// The kernel's name for a node: the catalog's node id in the low 56 bits and an epoch above it.
//
// One node may have several kernel inodes at a time.  An inode in passthrough mode cannot change
// its object, and stores through a shared mapping of it never reach the daemon.  An inode with
// pages that the kernel knows from before the file was changed elsewhere has that version's size
// and pages, which a notification takes away at some later time only.  So when one is opened that
// will not do (fs/open_mode.h), the node's epoch is raised and the opener sent back (kStale) to
// look the name up again, and finds a fresh kernel inode.  Those who hold the old one open keep it.
// The number shown as st_ino is the node id and does not change.
struct KernelId {
  uint64_t value = 0;
  static constexpr int kEpochShift = 56;
  static constexpr uint64_t kNodeMask = (1ULL << kEpochShift) - 1;
  constexpr uint64_t node() const { return value & kNodeMask; }
  constexpr uint64_t epoch() const { return value >> kEpochShift; }
  static constexpr KernelId make(uint64_t node, uint64_t epoch) {
    return {(epoch << kEpochShift) | node};
  }
  constexpr bool operator==(const KernelId&) const = default;
};
// Epochs from this one on are not fs/'s: fuse/ uses them for virtual files.
inline constexpr uint64_t kVirtualEpoch = 0xff;

// Thread-safe.
class KernelPort {
 public:
  virtual ~KernelPort() = default;
  // Whether files can be opened in passthrough on this mount.
  virtual bool passthrough_available() const = 0;
  // Makes the open file `fd` known to the kernel for passthrough; the kernel takes its own
  // reference.  The id (> 0) is valid until close_backing.
  virtual Result<int32_t> open_backing(int fd) = 0;
  virtual void close_backing(int32_t backing_id) = 0;
  // Drops the kernel's cached pages and attributes, or its belief in a name.  Queued and carried
  // out on a thread of its own; never blocks.  Unknown nodes are no error.  then: called there once
  // the pages are gone, unless the mount ends before.
  virtual void invalidate_node(KernelId node, std::function<void()> then = {}) = 0;
  virtual void expire_entry(KernelId parent, std::string name) = 0;
  // Drops the kernel's cached attributes alone, before it returns; never blocks.
  virtual void invalidate_attributes(KernelId node) = 0;
  // Makes the kernel look each name up again when it is next used, before it returns; never blocks.
  // Costs a look-up for each name in use, so it is for what is rare and cannot wait for
  // expire_entry.  Without effect on kernels that know no such thing (before Linux 6.16).
  virtual void expire_all_entries() = 0;
};

}  // namespace larder::fs
