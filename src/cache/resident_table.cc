#include "cache/resident_table.h"

#include <algorithm>
#include <bit>

#include "base/check.h"
#include "base/checksum.h"

namespace larder::cache {

ResidentTable::ResidentTable() {
  heads_.resize(kBucketsMin);
}

size_t ResidentTable::bucket_of(NodeId node) const {
  const size_t level = std::bit_floor(heads_.size());
  const size_t bucket = mix64(node.value) & (2 * level - 1);
  return bucket < heads_.size() ? bucket : bucket & (level - 1);
}

std::optional<ResidentTable::Slot> ResidentTable::find(NodeId wanted) const {
  for (Link at = heads_[bucket_of(wanted)]; at != 0; at = entries_[at - 1].next)
    if (node(at - 1) == wanted) return at - 1;
  return std::nullopt;
}

ResidentTable::Slot ResidentTable::insert(NodeId node, Priority priority) {
  CHECK(node.value <= kNodeMask);
  Slot slot = 0;
  if (free_ != 0) {
    slot = free_ - 1;
    free_ = entries_[slot].next;
  } else {
    slot = static_cast<Slot>(entries_.size());
    entries_.resize(entries_.size() + 1);
  }
  entries_[slot].node = node.value | uint64_t{static_cast<uint8_t>(priority)} << 56;
  entries_[slot].units = 0;
  link(slot);
  if (++used_ > heads_.size()) split();
  return slot;
}

void ResidentTable::link(Slot slot) {
  Link& head = heads_[bucket_of(node(slot))];
  entries_[slot].next = head;
  head = slot + 1;
}

// One more bucket: it takes its share of the entries of the bucket they are in so far.
void ResidentTable::split() {
  const size_t added = heads_.size();
  const size_t old = added & (std::bit_floor(added) - 1);
  heads_.resize(added + 1);
  Link at = heads_[old];
  heads_[old] = 0;
  while (at != 0) {
    const Slot slot = at - 1;
    at = entries_[slot].next;
    link(slot);
  }
}

void ResidentTable::erase(Slot slot) {
  Link* at = &heads_[bucket_of(node(slot))];
  while (*at != slot + 1) {
    CHECK(*at != 0);
    at = &entries_[*at - 1].next;
  }
  *at = entries_[slot].next;
  entries_[slot] = {.next = free_};
  free_ = slot + 1;
  --used_;
}

void ResidentTable::set_priority(Slot slot, Priority priority) {
  Entry& entry = entries_[slot];
  entry.node = (entry.node & kNodeMask) | uint64_t{static_cast<uint8_t>(priority)} << 56;
}

void ResidentTable::set_bytes(Slot slot, uint64_t bytes) {
  const uint64_t units = (bytes + kUnitBytes - 1) / kUnitBytes;
  CHECK(units <= UINT32_MAX);  // 16 TiB, the largest file ext4 has
  entries_[slot].units = static_cast<uint32_t>(units);
}

}  // namespace larder::cache
