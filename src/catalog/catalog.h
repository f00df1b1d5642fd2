// The catalog: typed access to the records (catalog/records.h) in the journal's store.
//
// Thread-safe.  Reads give nullopt for what is not there or does not decode.  A Batch is applied
// whole or not at all.  Calls block for the local disk at most.
//
// Invariants
//   - Ids are handed out in increasing order from ranges reserved durably beforehand, so none is
//     ever used twice, whatever was lost in a crash.
//   - A ChunkRecord is written only for blocks whose bytes were synced before (cache/claims).
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/ids.h"
#include "base/mutex.h"
#include "catalog/records.h"
#include "journal/store.h"

namespace larder::catalog {

// Changes to be applied together.
class Batch {
 public:
  void put(NodeId node, const NodeRecord& record);
  void remove(NodeId node);
  void put(NodeId parent, std::string_view name, const NameRecord& record);
  void remove(NodeId parent, std::string_view name);
  void put(ObjectId object, uint64_t chunk, const ChunkRecord& record);
  void remove(ObjectId object, uint64_t chunk);
  // Stores a listing and says in how many parts.
  uint32_t put_listing(NodeId directory, const std::vector<ListingEntry>& entries);
  void remove_listing_part(NodeId directory, uint32_t part);
  // One batch for each change: for what need not be applied together and would be too large.
  std::vector<Batch> split() const;
  void put_inode(uint64_t source_inode, NodeId node);
  void remove_inode(uint64_t source_inode);
  // A number of the caller's, under a name of its own.
  void put_number(std::string_view name, uint64_t number);
  bool empty() const { return changes_.empty(); }

 private:
  friend class Catalog;
  std::vector<journal::Change> changes_;
};

// What visit_records() calls; what is empty is not called.
struct RecordVisitor {
  std::function<void(NodeId, const NodeRecord&)> node;
  std::function<void(NodeId parent, std::string_view name, const NameRecord&)> name;
  std::function<void(uint64_t source_inode, NodeId)> inode{};
};

class Catalog {
 public:
  // The store outlives the catalog.  Reserves the first ids, which takes one sync.  last_object:
  // the highest id that was handed out, should the store not know.
  static Result<std::unique_ptr<Catalog>> open(journal::Store& store, ObjectId last_object = {});

  // No object of an earlier run has this id or a higher one.
  ObjectId first_object() const { return first_object_; }
  Result<NodeId> allocate_node();
  Result<ObjectId> allocate_object();

  Result<std::optional<NodeRecord>> node(NodeId node);
  Result<std::optional<NameRecord>> name(NodeId parent, std::string_view name);
  // Of the node's object.
  Result<std::optional<ChunkRecord>> chunk(const NodeRecord& node, uint64_t chunk);
  Result<std::optional<NodeId>> by_inode(uint64_t source_inode);
  Result<std::optional<uint64_t>> number(std::string_view name);
  // All parts, or nullopt when one is missing.
  Result<std::optional<std::vector<ListingEntry>>> listing(NodeId directory, uint32_t parts);

  // How much the records may take in the journal.  The caller's to keep: while has_room() is false
  // it puts no record that it can do without.  Set before use.
  void set_limit_bytes(uint64_t limit_bytes) { limit_bytes_ = limit_bytes; }
  bool has_room() const { return store_.live_bytes() < limit_bytes_; }
  uint64_t live_bytes() const { return store_.live_bytes(); }
  uint64_t limit_bytes() const { return limit_bytes_; }

  Result<void> apply(const Batch& batch);
  Result<void> commit() { return store_.commit(); }
  // Visits every stored node until `visit` returns false.
  Result<void> for_each_node(const std::function<bool(NodeId, const NodeRecord&)>& visit);
  // Visits records in stretches of about `records_max` of any kind, in the order in which they were
  // written (journal::Store::scan_stretch): where to go on, or nullopt at the end.
  Result<std::optional<journal::Address>> visit_records(journal::Address from, size_t records_max,
                                                        const RecordVisitor& visitor);

 private:
  explicit Catalog(journal::Store& store) : store_(store) {}
  struct Range {
    uint64_t next = 0;
    uint64_t limit = 0;
  };
  Result<uint64_t> allocate(std::string_view counter, Range& range) REQUIRES(mutex_);
  Result<void> reserve(std::string_view counter, Range& range) REQUIRES(mutex_);

  journal::Store& store_;
  uint64_t limit_bytes_ = UINT64_MAX;
  ObjectId first_object_;  // set by open()
  Mutex mutex_;
  Range nodes_ GUARDED_BY(mutex_);
  Range objects_ GUARDED_BY(mutex_);
};

}  // namespace larder::catalog
