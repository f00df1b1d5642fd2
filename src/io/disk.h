// The local disk under the cache directory, as an interface, so that tests can put a simulated one
// (tests/support/sim_disk.h) under everything that must survive a crash.
//
// Public functions are not virtual: they check arguments and finish what the virtual ones may do
// in part (short reads and writes).  All functions are thread-safe unless said otherwise, block,
// and report errors; none is retried after a failed sync.
//
// Paths are relative to the disk's root (the cache directory), use '/', and never start with '/' or
// contain a component "." or "..".
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"

namespace larder::io {

struct FileInfo {
  uint64_t size_bytes = 0;
  uint64_t allocated_bytes = 0;
  int64_t mtime_ns = 0;
};

// A piece of a file mapped shared: a store survives the death of this process (not a power loss,
// for which File::sync_data is called).  Only ranges that were allocated before may be mapped.
class Mapping {
 public:
  virtual ~Mapping() = default;
  std::span<std::byte> bytes() const { return bytes_; }

 protected:
  explicit Mapping(std::span<std::byte> bytes) : bytes_(bytes) {}
  std::span<std::byte> bytes_;
};

class File {
 public:
  virtual ~File() = default;

  // Fills `into` from `offset`; the result is less than its size only at the end of the file.
  Result<size_t> read_at(std::span<std::byte> into, uint64_t offset);
  // The same, of bytes that nobody will want again soon: leaves the page cache as it was, as far as
  // that is cheap.
  Result<size_t> read_once_at(std::span<std::byte> into, uint64_t offset);
  // Writes all of `from` or fails; after a failure the range holds any mixture of old and new.
  Result<void> write_at(std::span<const std::byte> from, uint64_t offset);
  // Makes data and size durable (fdatasync).  After a failure nothing may be assumed, also not
  // after a later success.
  Result<void> sync_data();
  Result<void> truncate(uint64_t size_bytes);
  // Reserves disk space for the range, extending the file, so that writes to it cannot run out of
  // space.
  Result<void> allocate(uint64_t offset, uint64_t length);
  // Gives the range's disk space back; it reads as zeros.  The size stays.
  Result<void> punch(uint64_t offset, uint64_t length);
  Result<FileInfo> info();
  // The first offset from `offset` on that is not in a hole; nullopt: there is none.  Where the
  // file system does not tell holes, all up to the end of the file counts as data.
  Result<std::optional<uint64_t>> next_data(uint64_t offset);
  // offset is a multiple of the page size.
  Result<std::unique_ptr<Mapping>> map(uint64_t offset, size_t length);
  // Whether the file is open or mapped otherwise than through this File: by another process, by the
  // kernel for a reader in passthrough, or by another File.  kNotSupported where nobody tells.
  Result<bool> is_used_elsewhere();

  // The file descriptor, for io_uring, splice and passthrough; -1 on a disk that has none.  Owned
  // by the File.
  int fd() const { return fd_; }

 protected:
  explicit File(int fd) : fd_(fd) {}
  // As pread(2) and pwrite(2): may do less than asked; never 0 on a write.
  virtual Result<size_t> do_read(std::span<std::byte> into, uint64_t offset) = 0;
  // Whether all of it came from the page cache.
  virtual bool do_read_cached(std::span<std::byte>, uint64_t) { return false; }
  virtual void do_drop_cached(uint64_t, uint64_t) {}
  virtual Result<size_t> do_write(std::span<const std::byte> from, uint64_t offset) = 0;
  virtual Result<void> do_sync_data() = 0;
  virtual Result<void> do_truncate(uint64_t size_bytes) = 0;
  virtual Result<void> do_allocate(uint64_t offset, uint64_t length) = 0;
  virtual Result<void> do_punch(uint64_t offset, uint64_t length) = 0;
  virtual Result<FileInfo> do_info() = 0;
  virtual Result<std::optional<uint64_t>> do_next_data(uint64_t offset);
  virtual Result<std::unique_ptr<Mapping>> do_map(uint64_t offset, size_t length) = 0;
  virtual Result<bool> do_is_used_elsewhere();

 private:
  int fd_;
};

// kInvalid unless the range lies within what a file can have (2^63 - 1 bytes).
Result<void> check_file_range(uint64_t offset, uint64_t length);

enum class OpenMode {
  kReadOnly,   // must exist
  kReadWrite,  // must exist
  kCreate,     // read-write; created when absent
  kCreateNew,  // read-write; kExists when present
};

struct SpaceInfo {
  uint64_t total_bytes = 0;
  uint64_t free_bytes = 0;    // to an unprivileged user
  uint64_t total_inodes = 0;  // 0: the file system does not count inodes (btrfs, ZFS): no limit
  uint64_t free_inodes = 0;
};

class Disk {
 public:
  virtual ~Disk() = default;

  Result<std::unique_ptr<File>> open(const std::string& path, OpenMode mode);
  // Replaces `to` when it exists.  Durable only after sync_directory of the parent(s).
  Result<void> rename(const std::string& from, const std::string& to);
  // The two, which exist, take each other's names.  Durable as a rename.  kNotSupported where the
  // file system cannot do it in one step.
  Result<void> exchange(const std::string& one, const std::string& other);
  // A file or an empty directory.
  Result<void> remove(const std::string& path);
  // Existing directories are not an error; parents must exist.
  Result<void> make_directory(const std::string& path);
  // Of a file or directory, which is not opened; a symbolic link is not followed.  "" is the root.
  Result<FileInfo> info(const std::string& path);
  // Names, without order; "." and ".." left out.
  Result<std::vector<std::string>> list(const std::string& directory);
  // Makes the directory's entries durable; "" is the root.
  Result<void> sync_directory(const std::string& directory);
  // Makes everything on the disk's file system durable (syncfs).
  Result<void> sync_all();
  Result<SpaceInfo> space();

 protected:
  virtual Result<std::unique_ptr<File>> do_open(const std::string& path, OpenMode mode) = 0;
  virtual Result<void> do_rename(const std::string& from, const std::string& to) = 0;
  virtual Result<void> do_exchange(const std::string& one, const std::string& other);
  virtual Result<void> do_remove(const std::string& path) = 0;
  virtual Result<void> do_make_directory(const std::string& path) = 0;
  virtual Result<FileInfo> do_path_info(const std::string& path) = 0;
  virtual Result<std::vector<std::string>> do_list(const std::string& directory) = 0;
  virtual Result<void> do_sync_directory(const std::string& directory) = 0;
  virtual Result<void> do_sync_all() = 0;
  virtual Result<SpaceInfo> do_space() = 0;
};

}  // namespace larder::io
