// The source: the slow directory, reached only beneath one root descriptor.
//
// What a call is about is a place (source/place.h): an open directory and one name in it.  So no
// call depends on what the directories above are called by the time it is carried out.  A name
// never leads out of its directory and a symlink is never followed (openat2 RESOLVE_BENEATH |
// RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS); operations on a symlink act on the link.
//
// Every call runs on a worker thread of its own bounded pool, because any of them may hang for as
// long as the source likes; the awaiting coroutine gets kTimedOut after `timeout` whatever the
// thread does, and nothing the hung thread still touches is freed under it.  Repeated time-outs and
// transport errors open a circuit breaker (source/breaker.h): calls then fail at once with
// kSourceDown while one probe at a time asks with back-off.  Errors of the source come back as
// their errno.
#pragma once

#include <sys/statvfs.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/attributes.h"
#include "base/clock.h"
#include "base/descriptor_limit.h"
#include "base/error.h"
#include "base/metrics.h"
#include "buffer/pool.h"
#include "io/task.h"
#include "source/breaker.h"
#include "source/place.h"

namespace larder::source {

struct SourceOptions {
  DescriptorLimit* descriptors = nullptr;  // of open files; null: none.  Outlives the source
  uint32_t threads_max = 64;               // source calls in flight; further ones queue
  uint32_t queue_max = 65536;              // queued beyond that: kLimit
  Nanos timeout = std::chrono::seconds(30);
  Nanos patience = std::chrono::seconds(2);  // Wait::kPatiently
  bool act_as_caller = true;                 // as root: new files belong to the caller
  BreakerOptions breaker;
};

struct DirectoryEntry {
  std::string name;  // never "." or ".."
  // As in Attributes of the same name; 0 where that is not known beforehand.
  uint64_t inode = 0;
  uint32_t type = 0;  // S_IFMT bits; 0 when the source does not say
};

struct Listing {
  std::vector<DirectoryEntry> entries;
  // It has no name left, and shows nothing, not even itself.
  bool is_removed = false;
};

// What setattr changes; absent members stay.
struct AttributeChange {
  std::optional<uint32_t> permissions;  // mode & 07777
  uint32_t cleared_permissions = 0;     // these go, whatever the others are
  std::optional<uint32_t> uid;
  std::optional<uint32_t> gid;
  std::optional<uint64_t> size_bytes;
  std::optional<Timestamp> atime;
  std::optional<Timestamp> mtime;
  bool atime_now = false;
  bool mtime_now = false;
};

// What the source's inode numbers say of a file.
enum class InodeNumbers : uint8_t {
  kUnreliable,    // nothing: made up, or of the name (FUSE, SMB, FAT, and what is not known)
  kWhileMounted,  // which file it is, until the source is mounted anew (tmpfs)
  kStable,        // which file it is, also after a remount (ext4, XFS, Btrfs, NFS ...)
};

// How long to wait for an answer.
enum class Wait {
  kForAnswer,  // `timeout`: there is nothing else to go by
  kPatiently,  // `patience`: the asker has an older answer to fall back on; no time at all while
               // the source is silent (kSourceDown).  Does not count against the source.
};

template <class T>
using Outcome = io::Task<Result<T>>;

class SourceFile;
struct Opened {
  std::shared_ptr<SourceFile> file;
  Attributes attributes;  // by fstat of the opened file
};

// An open file of the source.  Shared: the last owner closes it, on a worker thread.
// After kTimedOut or kCancelled a hung thread may still use the buffer of a read or write: drop it,
// never reuse its memory.
class SourceFile {
 public:
  virtual ~SourceFile() = default;
  // Reads up to `length` bytes at offset into the buffer's start and sets its size; less than
  // `length` only where the source says that the file ends, which need not be true: some say so
  // when they fail (sshfs).  Bytes are the source's (source/believable_read.h).
  virtual Outcome<size_t> read(buffer::BufferRef into, size_t length, uint64_t offset) = 0;
  // Whether a read that came back short may have failed.  Known after such a read.
  virtual bool fails_by_ending() const { return false; }
  // Writes all of the buffer's data(), or fails.  On a file opened with O_APPEND the offset is not
  // used.
  virtual Outcome<void> write(buffer::BufferRef from, uint64_t offset) = 0;
  // The same at the end of the file, wherever that is when it is carried out.
  virtual Outcome<void> append(buffer::BufferRef from) = 0;
  // What close(2) of a written file may report (NFS, quotas); the file stays open.
  virtual Outcome<void> flush() = 0;
  virtual Outcome<void> sync(bool data_only) = 0;
  virtual Outcome<Attributes> attributes() = 0;
  virtual Outcome<Attributes> set_attributes(AttributeChange change) = 0;
  virtual Outcome<void> allocate(int mode, uint64_t offset,
                                 uint64_t length) = 0;              // as fallocate(2)
  virtual Outcome<uint64_t> seek(uint64_t offset, int whence) = 0;  // SEEK_DATA, SEEK_HOLE
  // May copy less, if only to be done in time; 0 at the end of this file.  `to` is of the same
  // source.
  virtual Outcome<size_t> copy_range(uint64_t offset, std::shared_ptr<SourceFile> to,
                                     uint64_t to_offset, size_t length) = 0;
  // From now on what is read is not what others read through the same file system, and what is
  // written is not left to them, where it keeps pages by name and the name may lead to another file
  // by now (FUSE).
  virtual void bypass_page_cache() = 0;
  // For a file that has no name any more: as Source has them for one that does.
  virtual Outcome<Opened> reopen(int flags) = 0;
  virtual Outcome<std::string> get_xattr(std::string name) = 0;
  virtual Outcome<void> set_xattr(std::string name, std::string value, int flags,
                                  std::optional<Credentials> as) = 0;
  virtual Outcome<std::vector<std::string>> list_xattr() = 0;
  virtual Outcome<void> remove_xattr(std::string name) = 0;
};

// Thread-safe; tasks run on the reactor that awaits them.
class Source {
 public:
  static Result<std::unique_ptr<Source>> open(const std::string& root, const SourceOptions& options,
                                              Registry& registry, const Clock& clock);
  // Abandons hung threads (they keep what they use alive) and joins the others.
  virtual ~Source() = default;
  // Answers what is under way, and what is asked from now on, with kCancelled.  Idempotent.
  virtual void stop() = 0;

  // The source's root as a directory.  It is always current: a lost root is opened again by its
  // path.
  virtual DirectoryPtr root() const = 0;
  // This one, open_file(), create_file() and reopen() fail with kNoDescriptors at the limit.
  virtual Outcome<DirectoryPtr> open_directory(Place place) = 0;
  virtual Outcome<Attributes> attributes(Place place, Wait wait = Wait::kForAnswer) = 0;
  virtual Outcome<std::string> read_link(Place place) = 0;
  virtual Outcome<Listing> list(DirectoryPtr directory, Wait wait = Wait::kForAnswer) = 0;
  virtual Outcome<Opened> open_file(Place place,
                                    int flags) = 0;  // O_RDONLY, O_RDWR, O_APPEND, O_TRUNC
  virtual Outcome<Opened> create_file(Place place, int flags, uint32_t mode, Caller caller) = 0;
  virtual Outcome<Attributes> make_directory(Place place, uint32_t mode, Caller caller) = 0;
  virtual Outcome<Attributes> make_node(Place place, uint32_t mode, uint64_t rdev,
                                        Caller caller) = 0;
  virtual Outcome<Attributes> make_symlink(std::string target, Place place, Caller caller) = 0;
  virtual Outcome<Attributes> link(Place place, Place new_place) = 0;
  virtual Outcome<void> unlink(Place place) = 0;
  virtual Outcome<void> remove_directory(Place place) = 0;
  virtual Outcome<void> rename(Place place, Place new_place, unsigned flags) = 0;  // as renameat2
  virtual Outcome<Attributes> set_attributes(Place place, AttributeChange change) = 0;
  virtual Outcome<void> sync_directory(DirectoryPtr directory, bool data_only) = 0;
  virtual Outcome<std::string> get_xattr(Place place, std::string name) = 0;
  // as: whose set-group-id rights apply (acl(5): who is outside the file's group and sets an ACL
  // costs the file its set-group-id bit); else larder's own.
  virtual Outcome<void> set_xattr(Place place, std::string name, std::string value, int flags,
                                  std::optional<Credentials> as) = 0;
  virtual Outcome<std::vector<std::string>> list_xattr(Place place) = 0;
  virtual Outcome<void> remove_xattr(Place place, std::string name) = 0;
  virtual Outcome<struct statvfs> space() = 0;

  virtual InodeNumbers inode_numbers() const = 0;
  // Only then are they part of a Validator.
  bool inodes_are_stable() const { return inode_numbers() == InodeNumbers::kStable; }
  // Whether a directory's times move with each change of its entries (true for ext4, xfs, btrfs,
  // NFS, tmpfs ...; false for FUSE, SMB, FAT and where unknown): only then do equal times mean
  // equal entries.
  virtual bool directory_times_are_kept() const = 0;
  // Whether sizes say nothing of what can be read (sysfs, proc).
  virtual bool makes_up_sizes() const { return false; }
  // The validator of these attributes, as this source allows it.
  Validator validator(const Attributes& attributes) const {
    return {attributes.size_bytes, attributes.times.mtime, attributes.times.ctime,
            inodes_are_stable() ? attributes.inode : 0};
  }

  // False while the breaker is open.
  virtual bool is_up() const = 0;
  // Called, on any thread, each time the source goes down or comes back.  Set once, before use.
  virtual void on_state_change(std::function<void(bool up)> notify) = 0;
};

}  // namespace larder::source
