// Node: one file, directory or other object of the namespace, while the kernel or a request knows
// it.
//
// Invariants
//   - There is at most one Node per NodeId (NodeTable).
//   - keep_ is set exactly while the kernel holds lookups of one of the node's kernel inodes.
//   - A kernel inode is in one mode at a time: cached_opens and passthrough_opens are never both
//     above zero, and all its passthrough opens use backing_id, which is the object of
//     `generation`.
//   - names_ is empty only for the root, for a node that housekeeping loaded (its record has its
//   name)
//     and for a node without a name left (unlinked, still in
//     use).
//
// Locking: the tree's lock (Tree, held by the file system) guards names_; mutex_ everything else.
// The tree's lock is taken before mutex_, mutex_ before the file's own.  The async mutexes may be
// held across co_await and are taken first of all: opening() before changing().
#pragma once

#include <sys/stat.h>

#include <atomic>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/attributes.h"
#include "base/clock.h"
#include "base/ids.h"
#include "base/mutex.h"
#include "cache/cached_file.h"
#include "catalog/catalog.h"
#include "fs/children.h"
#include "fs/kernel_port.h"
#include "fs/link_text.h"
#include "fs/partial_writes.h"
#include "io/completion.h"

namespace larder::fs {

class CachedFileSystem;
class NodeTable;

// One of the kernel's inodes for a node; see KernelId.
struct KernelInode {
  uint8_t epoch = 0;
  // A direct write was carried out: the kernel drops its pages before, and what it read meanwhile
  // stays, though it may be older.  The next open lets the kernel drop them again.
  bool has_old_pages = false;
  int32_t backing_id = 0;
  uint64_t lookups = 0;
  uint32_t cached_opens = 0;
  uint32_t passthrough_opens = 0;
  uint64_t generation = 0;  // of the file's data, when opened in passthrough
  // content_version the kernel's idea of the size and its pages belong to; 0: none.  An inode of
  // another version is not opened any more.
  uint64_t version = 0;
  std::shared_ptr<cache::Incarnation> incarnation = {};  // of those who opened it last; null: none
  // The file has grown, and pages that end in zeros where it ended may be there still: until they
  // are gone the kernel is shown no more than this (fs/kernel_pages.cc).
  struct HeldBack {
    uint64_t shown_bytes_max = 0;
    bool is_being_emptied = false;  // of its pages
    bool is_emptied_again = false;  // it has grown meanwhile
  };
  std::unique_ptr<HeldBack> held_back = {};  // null: it is shown all
  bool is_parted() const { return incarnation && incarnation->is_parted(); }
  bool idle() const { return lookups == 0 && cached_opens == 0 && passthrough_opens == 0; }
};

// Extended attributes as that version of a file had them; nullopt: there is none of that name.
struct KnownXattrs {
  std::map<std::string, std::optional<std::string>, std::less<>> values = {};
  Validator version;
};

// By which name the catalog has a node.
struct RecordedName {
  NodeId parent;
  std::string name;
};

struct Name;

class Node final : public cache::FileOwner, public std::enable_shared_from_this<Node> {
 public:
  Node(CachedFileSystem& fs, NodeId id);
  // From an earlier run, or from before the kernel forgot it.
  Node(CachedFileSystem& fs, NodeId id, const catalog::NodeRecord& record);
  ~Node() override;

  // FileOwner
  NodeId id() const override { return id_; }
  std::shared_ptr<cache::FileOwner> self() override { return shared_from_this(); }
  io::Task<Result<std::shared_ptr<source::SourceFile>>> open_source() override;
  cache::Hints hints() override;
  std::string name_for_message() override;
  Result<void> persist(catalog::Batch extra) override;
  // Regular files only; made when first asked for.
  cache::CachedFile& file() override;
  // Null when nothing is cached of it.
  cache::CachedFile* cached_file();
  // Null when there was no need for it yet.
  cache::CachedFile* file_if_any() const;

  uint32_t type() const;  // S_IFMT bits
  bool is_directory() const { return S_ISDIR(type()); }
  bool is_regular() const { return S_ISREG(type()); }

  // Decides about modes.
  io::AsyncMutex& opening() { return turns().opening; }
  // One change of the data at a time.
  io::AsyncMutex& changing() { return turns().changing; }
  // Of a directory: one loading of its listing at a time.
  io::AsyncMutex& listing();

 private:
  friend class CachedFileSystem;
  friend class NodeTable;

  // The kernel inode of that epoch, made when there is none: the kernel learns of it now.
  KernelInode& kernel_inode(uint64_t epoch) REQUIRES(mutex_);
  KernelInode* find_kernel_inode(uint64_t epoch) REQUIRES(mutex_);
  std::shared_ptr<source::SourceFile> what_can_be_reopened(
      const cache::Incarnation& incarnation) const;
  io::Task<Result<source::Opened>> open_held(std::shared_ptr<cache::Incarnation> incarnation,
                                             Error error);
  // It is opened now.  Whether that is to be remembered: a record is not rewritten for each open.
  bool note_use(Nanos wall) REQUIRES(mutex_);
  void forget_record(const catalog::NodeRecord& record, catalog::Batch& batch) REQUIRES(mutex_);
  // Fills in what the node's parts know.
  void describe(catalog::NodeRecord& record) REQUIRES(mutex_);
  ObjectId object() const REQUIRES(mutex_);  // none: nothing is cached
  // Parts that few nodes have are made when they are first needed.
  Children& children() REQUIRES(mutex_);
  LinkText& link_text() REQUIRES(mutex_);
  struct Turns {
    io::AsyncMutex opening;   // decides about modes
    io::AsyncMutex changing;  // one change of the data at a time
  };
  Turns& turns();
  // By an earlier run, which saw it by this name and had asked about no other.
  bool was_confirmed_as(NodeId parent, std::string_view name) const REQUIRES(mutex_);
  // Takes an epoch no live kernel inode has, if there is one left.
  void raise_epoch() REQUIRES(mutex_);
  // The object's there is now; see CachedFile::generation.
  uint64_t data_generation() const REQUIRES(mutex_) { return file_ ? file_->generation() : 0; }
  // What the kernel inode of that epoch is shown of the file, while that is less than the file:
  // what it reads in passthrough (see CachedFile), or has no old pages of.
  std::optional<uint64_t> visible_bytes(uint64_t epoch) REQUIRES(mutex_) {
    const KernelInode* inode = has_peculiar_inodes_ ? find_kernel_inode(epoch) : nullptr;
    if (inode == nullptr) return std::nullopt;
    if (inode->passthrough_opens == 0) {
      if (!inode->held_back) return std::nullopt;
      const uint64_t max = inode->held_back->shown_bytes_max;
      return max < attributes_.size_bytes ? std::optional(max) : std::nullopt;
    }
    return inode->generation == data_generation() ? file_->visible_bytes() : std::nullopt;
  }
  // What the kernel knows by the inode is out of date: it is not opened any more.  In passthrough
  // it reads the object and has no pages.
  bool is_stale(const KernelInode& inode) const REQUIRES(mutex_) {
    const bool reads_object = inode.passthrough_opens > 0 && inode.generation == data_generation();
    return inode.version != content_version_ && !reads_object;
  }
  bool has_free_epoch() const REQUIRES(mutex_) { return kernel_inodes_.size() < kVirtualEpoch; }
  // For look-ups: not the epoch of an inode that would be of no use.
  void leave_stale_epoch() REQUIRES(mutex_);
  void drop_idle_kernel_inodes() REQUIRES(mutex_);
  // Then no incarnation is parted any more.
  void note_no_handles() REQUIRES(mutex_);

  // What an answer from memory needs comes first, close together.
  const NodeId id_;
  Node* next_in_table_ = nullptr;  // NodeTable's
  mutable Mutex mutex_;
  Nanos valid_until_ GUARDED_BY(mutex_){0};  // monotonic
  // False: of none the incarnation is parted, and each is shown all of the file.
  bool has_peculiar_inodes_ GUARDED_BY(mutex_) = false;
  Attributes attributes_ GUARDED_BY(mutex_);
  std::vector<KernelInode> kernel_inodes_ GUARDED_BY(mutex_);
  uint64_t epoch_ GUARDED_BY(mutex_) = 0;
  uint64_t content_version_ GUARDED_BY(mutex_) = 1;  // grows when all kernel inodes go stale
  std::vector<Name> names_;                          // guarded by the tree's lock
  NodeId lost_in_;  // where it had the last one that it lost in this run; likewise
  std::shared_ptr<Node> keep_ GUARDED_BY(mutex_);
  CachedFileSystem& fs_;
  std::unique_ptr<cache::CachedFile> file_ GUARDED_BY(mutex_);
  // These are made when they are first needed.
  std::unique_ptr<Turns> turns_ GUARDED_BY(mutex_);
  std::unique_ptr<Children> children_ GUARDED_BY(mutex_);
  std::unique_ptr<LinkText> link_text_ GUARDED_BY(mutex_);
  std::unique_ptr<KnownXattrs> xattrs_ GUARDED_BY(mutex_);
  // Once it is made it stays, and has_partial_writes_ says so without the lock.
  std::unique_ptr<PartialWrites> partial_writes_ GUARDED_BY(mutex_);
  std::atomic<bool> has_partial_writes_{false};

  uint64_t attributes_changed_at_ GUARDED_BY(mutex_) = 0;  // ChangeClock: last change made here
  uint64_t attributes_asked_at_ GUARDED_BY(mutex_) = 0;    // ChangeClock: of the newest answer
  int64_t validated_at_ns_ GUARDED_BY(mutex_) = 0;         // wall clock
  int64_t used_at_ns_ GUARDED_BY(mutex_) = 0;
  bool deleted_ GUARDED_BY(mutex_) = false;           // its last name is gone
  bool seen_in_this_run_ GUARDED_BY(mutex_) = false;  // attributes_ are not from an earlier one
  uint32_t handles_ GUARDED_BY(mutex_) = 0;
  uint64_t watch_ticket_ GUARDED_BY(mutex_) = 0;     // OpenWatch's; 0: it does not know the node
  Nanos compared_at_ GUARDED_BY(mutex_){0};          // with what the source has; monotonic
  bool is_looked_after_ GUARDED_BY(mutex_) = false;  // fs/own_changes.cc

  // Of a node that the catalog had: null for others.
  std::unique_ptr<const RecordedName> recorded_name_ GUARDED_BY(mutex_);
  // What its record says of its data, until file_ has taken over; null: nothing.
  std::unique_ptr<const catalog::NodeRecord> stored_data_ GUARDED_BY(mutex_);
  uint64_t stored_hash_ GUARDED_BY(mutex_) = 0;  // of the record as stored last; 0: there is none
  // The catalog had no room for its name; it gets it once there are data to be found by it.
  bool has_unrecorded_name_ GUARDED_BY(mutex_) = false;

  Mutex record_mutex_;  // orders the writes of this node's record; held for an append to the log
};

struct Name {
  std::shared_ptr<Node> parent;
  std::string name;
};

}  // namespace larder::fs
