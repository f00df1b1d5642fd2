// SimDisk: a disk in memory that can fail and lose power, for everything that must survive a crash.
//
// The fault model
// - Each file has a pristine content (what is on the medium) and unsynced writes over it, kept as
// versions of
//   512-byte sectors, and an unsynced history of sizes.  File::sync_data moves the newest of both
//   to the medium.  Stores through a mapping are writes too: they are noticed at each changing
//   operation of the disk, at a sync and at a crash.
// - Directory changes (create, rename, remove, make_directory) are kept in order until
// sync_directory of a
//   directory they touch.
// - power_loss(seed): each sector becomes its pristine version or any unsynced one, independently,
// so
//   records are torn and writes reordered; each size becomes the pristine or any unsynced one; any
//   subset of the unsynced directory changes happens, each of them whole (a rename is old or new,
//   never both or none). A sector is never torn.
// - process_death(): everything written stays, stores through mappings too, unsynced things stay
// unsynced.
// - After either all files and mappings handed out before are dead: their operations give
// kCancelled, stores
//   through them go nowhere.
// - crash_at_step(n): the n-th changing operation from now does not happen (a write may happen in
// part), and
//   it and all operations after it give kCancelled until power_loss() or process_death().
// - inject(): an operation fails with a given code.  A failed sync drops what was dirty, as Linux
// does: the
//   process goes on reading the new bytes, later syncs succeed, and the medium keeps the old ones.
// - set_short_io(seed): reads and writes do part of what was asked, at least one byte.
// - corrupt(): bits flip on the medium and in memory alike.
// - set_capacity_bytes(): writes and allocations beyond it give kNoSpace, in units of 4 KiB.
//
// Not modelled: sparse allocation below 4 KiB, torn sectors; a directory that gets another name
// takes what happened in it before with it, as if that had been synced.  Files are at most
// kFileSizeMax.  Thread-safe, as io::Disk; the faults too.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/mutex.h"
#include "base/random.h"
#include "io/disk.h"

namespace larder::testing {

class SimInode;

enum class SimOperation {
  kOpen,
  kRead,
  kWrite,
  kSync,
  kTruncate,
  kAllocate,
  kPunch,
  kMap,
  kRename,
  kRemove,
  kMakeDirectory,
  kSyncDirectory,
};

struct SimFault {
  SimOperation operation;
  Code code = Code::kIo;
  std::string path_part = {};  // only paths that contain this
  uint64_t skip = 0;           // let so many pass first
  uint64_t times = 1;          // then fail so many
};

class SimDisk final : public io::Disk {
 public:
  static constexpr uint64_t kFileSizeMax = 256 << 20;
  static constexpr size_t kSectorBytes = 512;

  SimDisk();
  ~SimDisk() override;

  void power_loss(uint64_t seed);
  void process_death();

  void crash_at_step(uint64_t n);
  // Changing operations since construction, and whether a crash set by crash_at_step() has
  // happened.
  uint64_t step_count() const;
  bool is_crashed() const;

  void inject(SimFault fault);
  void clear_faults();
  void set_short_io(std::optional<uint64_t> seed);
  void set_capacity_bytes(uint64_t bytes);
  // Called before each opening, without a lock: what others do in just that moment.  nullptr: no
  // more.  Not while the disk is in use.
  void set_before_open(std::function<void(const std::string& path)> before_open) {
    before_open_ = std::move(before_open);
  }
  // The same before each removal.
  void set_before_remove(std::function<void(const std::string& path)> before_remove) {
    before_remove_ = std::move(before_remove);
  }
  // Whether exchange() is there (it is, unless said otherwise).
  void set_can_exchange(bool can_exchange);
  // As if somebody else had the file, which must exist, open or mapped; also once it is removed.
  std::function<void(bool is_used)> use_elsewhere(const std::string& path);
  // Whether that is told (it is, unless said otherwise).
  void set_tells_use(bool tells_use);

  // All files, with their directories; in order.
  std::vector<std::string> paths() const;
  // What a reader would see; the file must exist.
  std::string content(const std::string& path) const;
  void corrupt(const std::string& path, uint64_t offset, uint8_t flipped_bits);
  // Creates or replaces the file, durably.
  void put(const std::string& path, const std::string& content);
  // Removes the file, durably.
  void erase(const std::string& path);
  // A copy of what is there now, all of it durable; faults are not copied.
  std::unique_ptr<SimDisk> clone() const;

 protected:
  Result<std::unique_ptr<io::File>> do_open(const std::string& path, io::OpenMode mode) override;
  Result<void> do_rename(const std::string& from, const std::string& to) override;
  Result<void> do_exchange(const std::string& one, const std::string& other) override;
  Result<void> do_remove(const std::string& path) override;
  Result<void> do_make_directory(const std::string& path) override;
  Result<io::FileInfo> do_path_info(const std::string& path) override;
  Result<std::vector<std::string>> do_list(const std::string& directory) override;
  Result<void> do_sync_directory(const std::string& directory) override;
  Result<void> do_sync_all() override;
  Result<io::SpaceInfo> do_space() override;

 private:
  friend class SimFile;
  using Inode = std::shared_ptr<SimInode>;
  using Tree = std::map<std::string, Inode>;
  // Names that change together: a name's new inode, or null when it goes.
  struct DirectoryChange {
    std::vector<std::pair<std::string, Inode>> names;
    // The two names take each other's place, with all beneath them; their inodes are not given.
    bool is_swap = false;
  };

  Result<void> check_fault(SimOperation operation, const std::string& path) REQUIRES(mutex_);
  // Counts a changing operation; kCancelled when it or an earlier one was the crash.
  Result<void> step() REQUIRES(mutex_);
  Result<void> check_parent(const std::string& path) const REQUIRES(mutex_);
  void change(DirectoryChange change) REQUIRES(mutex_);
  static void apply(Tree& tree, const DirectoryChange& change);
  static void swap_trees(Tree& tree, const std::string& one, const std::string& other);
  void swap(const std::string& one, const std::string& other) REQUIRES(mutex_);
  void notice_mapped_stores() REQUIRES(mutex_);
  uint64_t allocated_bytes() const REQUIRES(mutex_);
  Result<void> charge(SimInode& inode, uint64_t offset, uint64_t length) REQUIRES(mutex_);
  size_t shorten(size_t size) REQUIRES(mutex_);

  std::function<void(const std::string& path)> before_open_;
  std::function<void(const std::string& path)> before_remove_;
  mutable Mutex mutex_;
  Tree live_ GUARDED_BY(mutex_);
  Tree durable_ GUARDED_BY(mutex_);
  std::vector<DirectoryChange> changes_ GUARDED_BY(mutex_);  // unsynced, oldest first
  std::vector<SimFault> faults_ GUARDED_BY(mutex_);
  std::optional<Random> short_io_ GUARDED_BY(mutex_);
  uint64_t capacity_bytes_ GUARDED_BY(mutex_) = uint64_t{1} << 40;
  bool can_exchange_ GUARDED_BY(mutex_) = true;
  bool tells_use_ GUARDED_BY(mutex_) = true;
  uint64_t steps_ GUARDED_BY(mutex_) = 0;
  uint64_t crash_step_ GUARDED_BY(mutex_) = UINT64_MAX;
  bool is_crashed_ GUARDED_BY(mutex_) = false;
  uint64_t life_ GUARDED_BY(mutex_) =
      0;  // grows with each crash: handles of an earlier life are dead
};

}  // namespace larder::testing
