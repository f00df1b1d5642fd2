// StoreImpl: walks over live records, in the order in which they are in the log.

#include <algorithm>

#include "journal/store_impl.h"

namespace larder::journal {

using format::RecordView;

// A record that is superseded, or moved by compaction, between two stretches is at the log's end
// then, before which no walk is over: so none is missed.
Result<std::optional<Address>> StoreImpl::scan_stretch(
    Address from, size_t records_max,
    const std::function<void(std::string_view key, std::string_view value)>& visit) {
  const TruncationHolds::Hold hold(holds_);
  std::vector<uint64_t> heads;  // a heap, the highest first: the lowest seen so far
  std::vector<uint64_t> of_shard;
  for (size_t i = 0; i < Index::kShards; ++i) {
    of_shard.clear();
    {
      const IndexShard& shard = index_->shard(i);
      const ReaderLock lock(shard.mutex);
      shard.collect(of_shard);
    }
    for (const uint64_t head : of_shard) {
      if (head < from.value || (heads.size() == records_max && head >= heads.front())) continue;
      heads.push_back(head);
      std::ranges::push_heap(heads);
      if (heads.size() <= records_max) continue;
      std::ranges::pop_heap(heads);
      heads.pop_back();
    }
  }
  std::ranges::sort(heads);
  TRY(visit_chains(heads, hold.begin(), [&](const RecordView& record) {
    visit(record.key, record.value);
    return true;
  }));
  if (heads.size() < records_max) return std::nullopt;
  return Address{heads.back() + 1};
}

Result<void> StoreImpl::visit_chains(std::span<const uint64_t> heads, uint64_t begin,
                                     const std::function<bool(const RecordView&)>& visit) {
  constexpr size_t kStretchBytes = 256 << 10;
  RecordReader newest(segments_, cold_reads_);
  RecordReader older(segments_, cold_reads_);
  std::vector<std::string> seen;  // keys of one chain, newest first
  for (const uint64_t head : heads) {
    seen.clear();
    for (uint64_t address = head; address >= begin;) {
      const bool is_head = address == head;
      TRY_ASSIGN(const RecordView record,
                 is_head ? newest.read(address, kStretchBytes) : older.read(address));
      address = record.header.previous();
      if (std::ranges::find(seen, record.key) != seen.end()) continue;
      if (!record.header.is_tombstone() && !visit(record)) return {};
      if (address >= begin) seen.emplace_back(record.key);
    }
  }
  return {};
}

}  // namespace larder::journal
