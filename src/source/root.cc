#include "source/root.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>

#include "base/checksum.h"
#include "base/log.h"
#include "source/breaker.h"

namespace larder::source {
namespace {

constexpr int kOpenDirectory = O_PATH | O_DIRECTORY | O_CLOEXEC;

// statfs(2) f_type.  Those of linux/magic.h and of file systems outside of the kernel.
enum FsType : uint64_t {
  kExt = 0xEF53,
  kXfs = 0x58465342,
  kBtrfs = 0x9123683E,
  kF2fs = 0xF2F52010,
  kNfs = 0x6969,
  kCeph = 0x00C36400,
  kZfs = 0x2FC12FC1,
  kBcachefs = 0xCA451A4E,
  kFuse = 0x65735546,
  kCifs = 0xFF534D42,
  kSmb2 = 0xFE534D42,
  k9p = 0x01021997,
  kAfs = 0x5346414F,
  kTmpfs = 0x01021994,
  kRamfs = 0x858458F6,
};

bool is_remote(uint64_t type) {
  return type == kNfs || type == kCeph || type == kFuse || type == kCifs || type == kSmb2 ||
         type == k9p || type == kAfs;
}

}  // namespace

// Stable: the number is part of what is on disk (ext2-4, xfs, btrfs, f2fs, ZFS, bcachefs), or the
// server's file handle holds it (NFS fileid, Ceph).  While mounted: tmpfs counts them up, and
// begins again after a remount.  Unreliable: SMB (numbers may be made up by the client when the
// server has none), overlayfs (may change at copy-up and between layers), FAT and exFAT (made up
// anew when the kernel has forgotten the file), FUSE (up to the daemon, usually by name), 9p, AFS,
// and all others.
InodeNumbers inode_numbers_of(uint64_t type) {
  switch (type) {
    case kExt:
    case kXfs:
    case kBtrfs:
    case kF2fs:
    case kNfs:
    case kCeph:
    case kZfs:
    case kBcachefs:
      return InodeNumbers::kStable;
    case kTmpfs:
    case kRamfs:
      return InodeNumbers::kWhileMounted;
    default:
      return InodeNumbers::kUnreliable;
  }
}

// Views of the kernel's own state.
bool type_makes_up_sizes(uint64_t type) {
  switch (type) {
    case SYSFS_MAGIC:
    case PROC_SUPER_MAGIC:
    case CGROUP_SUPER_MAGIC:
    case CGROUP2_SUPER_MAGIC:
    case DEBUGFS_MAGIC:
    case TRACEFS_MAGIC:
    case SECURITYFS_MAGIC:
    case SELINUX_MAGIC:
      return true;
    default:
      return false;
  }
}

// True: local file systems that are made for Linux, and what shows the times of such a one of the
// server (NFS, Ceph).  False: FUSE (up to the daemon: rclone, mergerfs, which shows one of several
// directories, and others keep none, and what keeps them as sshfs does cannot be told from these),
// SMB, 9p and AFS (up to the server), FAT and exFAT (up to whoever made the change), overlayfs, and
// all others.
bool type_keeps_directory_times(uint64_t type) {
  return type == kTmpfs || inode_numbers_of(type) == InodeNumbers::kStable;
}

struct Root::Attached {
  UniqueFd directory;  // O_PATH
  Identity identity;
  dev_t device = 0;
};

Root::AttachmentPtr Root::attachment() const {
  MutexLock lock(mutex_);
  return attached_;
}

int Root::descriptor(const Attached& attached) {
  return attached.directory.get();
}

Result<Root::Attached> Root::open_root(const std::string& path) {
  Attached root;
  root.directory = UniqueFd(::open(path.c_str(), kOpenDirectory));
  if (!root.directory) return fail_errno("open " + path);
  struct statfs fs = {};
  if (::fstatfs(root.directory.get(), &fs) != 0) return fail_errno("statfs " + path);
  struct statx stat = {};
  if (::statx(root.directory.get(), "", AT_EMPTY_PATH | AT_STATX_FORCE_SYNC, STATX_BASIC_STATS,
              &stat) != 0)
    return fail_errno("stat " + path);
  root.identity.type = static_cast<uint32_t>(fs.f_type);
  root.identity.is_mount_root = (stat.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0;
  root.identity.counts_links = stat.stx_nlink > 0;
  root.device = makedev(stat.stx_dev_major, stat.stx_dev_minor);
  return root;
}

Result<void> Root::attach() {
  auto opened = open_root(path_);
  AttachmentPtr replaced;  // closed after the lock is released
  MutexLock lock(mutex_);
  if (!opened) {
    was_down_ = true;
    return fail(std::move(opened).error());
  }
  const Identity& found = opened->identity;
  // Never seen but known to have been down: it can only be a remote or a mounted file system.
  const bool is_source = attached_ ? attached_->identity == found
                                   : !was_down_ || found.is_mount_root || is_remote(found.type);
  if (!is_source) return fail(Code::kSourceDown, path_ + " does not hold the source now");
  replaced = std::exchange(attached_, std::make_shared<const Attached>(std::move(*opened)));
  return {};
}

bool Root::is_lost(const Attached& root, int statx_flags) const {
  struct statx stat = {};
  if (::statx(root.directory.get(), "", AT_EMPTY_PATH | statx_flags, STATX_NLINK, &stat) != 0)
    return errno == ESTALE || fault_of(Error::from_errno().code()) == Fault::kTransport;
  return root.identity.counts_links && stat.stx_nlink == 0;
}

Result<void> Root::probe() {
  const auto root = attachment();
  if (root && !is_lost(*root, AT_STATX_FORCE_SYNC)) return {};
  return attach();
}

Error Root::explain(Error error) const {
  const bool missing = error.is(Code::kNotFound);
  if (!missing && !error.is(Code::kStale)) return error;
  const auto root = attachment();
  // For ENOENT the kernel's own knowledge will do: a negative answer must not cost another round
  // trip.
  if (root && !is_lost(*root, missing ? AT_STATX_DONT_SYNC : AT_STATX_FORCE_SYNC)) return error;
  return Error(Code::kSourceDown, "the source's root directory is gone");
}

bool Root::makes_up_sizes() const {
  const auto root = attachment();
  return root && type_makes_up_sizes(root->identity.type);
}

InodeNumbers Root::inode_numbers() const {
  const auto root = attachment();
  return root ? inode_numbers_of(root->identity.type) : InodeNumbers::kUnreliable;
}

bool Root::is_fuse() const {
  const auto root = attachment();
  return root && root->identity.type == kFuse;
}

bool Root::directory_times_are_kept() const {
  const auto root = attachment();
  return root && type_keeps_directory_times(root->identity.type);
}

uint64_t Root::file_number(uint64_t inode, dev_t device) const {
  const auto root = attachment();
  if (!root || root->device == device) return inode;
  const bool is_relied_on = inode_numbers_of(root->identity.type) != InodeNumbers::kUnreliable;
  return is_relied_on ? 0 : mix64(inode ^ mix64(device));
}

bool Root::numbers_entries(int directory) const {
  const auto root = attachment();
  if (!root || !type_keeps_directory_times(root->identity.type)) return false;
  struct statx stat = {};
  return ::statx(directory, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE, &stat) == 0 &&
         makedev(stat.stx_dev_major, stat.stx_dev_minor) == root->device;
}

}  // namespace larder::source
