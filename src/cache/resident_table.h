// ResidentTable: the files that have an object, by node and by dense slot number; 20 bytes a file.
//
// A hash table with chains through the entries that grows by linear hashing (Litwin, VLDB 1980),
// one bucket at a time: no insert is slow, and memory is in proportion to the files.
//
// Invariants
//   - A slot is free (node 0, in the list of free ones) or used (in the chain of its node's
//   bucket).
//   - There are as many buckets as used slots were at most, kBucketsMin at least.
// Not thread-safe (Residents guards it).
#pragma once

#include <cstdint>
#include <optional>

#include "base/ids.h"
#include "base/paged_array.h"
#include "evict/policy.h"

namespace larder::cache {

// What goes first when room is needed: all of a lower class before any of a higher.
enum class Priority : uint8_t { kLow, kNormal, kHigh, kPinned };
inline constexpr size_t kPriorities = 4;

class ResidentTable {
 public:
  using Slot = evict::Slot;
  // Bytes are counted in these units, rounded up.
  static constexpr uint64_t kUnitBytes = 4096;

  ResidentTable();

  std::optional<Slot> find(NodeId node) const;
  // The node is not in the table.  Its bytes are 0.
  Slot insert(NodeId node, Priority priority);
  void erase(Slot slot);

  NodeId node(Slot slot) const { return NodeId{entries_[slot].node & kNodeMask}; }
  Priority priority(Slot slot) const { return static_cast<Priority>(entries_[slot].node >> 56); }
  void set_priority(Slot slot, Priority priority);
  uint64_t bytes(Slot slot) const { return entries_[slot].units * kUnitBytes; }
  void set_bytes(Slot slot, uint64_t bytes);

  size_t size() const { return used_; }
  // Slots are below this.
  Slot slot_limit() const { return static_cast<Slot>(entries_.size()); }
  size_t size_bytes() const { return entries_.size_bytes() + heads_.size_bytes(); }

 private:
  static constexpr uint64_t kNodeMask = (uint64_t{1} << 56) - 1;
  static constexpr size_t kBucketsMin = 64;
  using Link = uint32_t;  // slot + 1; 0: none
  struct Entry {
    uint64_t node = 0;  // the priority in the high 8 bits
    uint32_t units = 0;
    Link next = 0;  // in the chain, or in the list of free slots
  };
  static_assert(sizeof(Entry) == 16);

  size_t bucket_of(NodeId node) const;
  void link(Slot slot);
  void split();

  PagedArray<Entry, 256> entries_;
  PagedArray<Link, 1024> heads_;
  Link free_ = 0;
  size_t used_ = 0;
};

}  // namespace larder::cache
