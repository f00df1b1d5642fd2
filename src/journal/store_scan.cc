// StoreImpl: walks over live records, in the order in which they are in the log.

#include <algorithm>

#include "base/log.h"
#include "journal/chains.h"
#include "journal/lowest_addresses.h"
#include "journal/store_impl.h"

namespace larder::journal {

using format::RecordView;

// Each shard as it is at one moment: a key is in one shard, so it is in there once.  Chains do not
// change behind their head.
Result<void> StoreImpl::scan(
    const std::function<bool(std::string_view key, std::string_view value)>& visit) {
  const TruncationHolds::Hold hold(holds_);
  return this->visit(chain_heads(*index_), hold.begin(),
                     [&](const RecordView& record) { return visit(record.key, record.value); });
}

// A record that is superseded, or moved by compaction, between two stretches is at the log's end
// then, before which no walk is over: so none is missed.
Result<std::optional<Address>> StoreImpl::scan_stretch(
    Address from, size_t records_max,
    const std::function<void(std::string_view key, std::string_view value)>& visit) {
  const TruncationHolds::Hold hold(holds_);
  LowestAddresses lowest(records_max);
  std::vector<uint64_t> of_shard;
  for (size_t i = 0; i < Index::kShards; ++i) {
    of_shard.clear();
    {
      const IndexShard& shard = index_->shard(i);
      const ReaderLock lock(shard.mutex);
      shard.collect(of_shard);
    }
    for (const uint64_t head : of_shard)
      if (head >= from.value) lowest.add(head);
  }
  const std::vector<uint64_t> heads = lowest.sorted();
  TRY(this->visit(heads, hold.begin(), [&](const RecordView& record) {
    visit(record.key, record.value);
    return true;
  }));
  if (heads.size() < records_max) return std::nullopt;
  return Address{heads.back() + 1};
}

// The heads in ascending order.
Result<void> StoreImpl::visit(std::span<const uint64_t> heads, uint64_t begin,
                              const std::function<bool(const RecordView&)>& visit) {
  return visit_chains(segments_, cold_reads_, heads, begin,
                      {.visit = visit, .damaged = [](uint64_t, const Error& error) -> Result<void> {
                         return fail(error);
                       }});
}

// For a store whose frames do not say.  A key whose cold record cannot be read is not counted:
// nobody can change it any more either, so nothing is ever taken off for it.  One that is in memory
// could be changed, unread.
Result<void> StoreImpl::count_live() {
  LiveCounts live;
  const auto count = [&](const RecordView& record) {
    live.bytes += record.header.space();
    ++live.keys;
    return true;
  };
  const auto pass_over = [this](uint64_t address, const Error& error) -> Result<void> {
    const bool is_damage = error.is(Code::kCorrupt) || error.is(Code::kIo);
    if (!is_damage || !log_.hot(address).empty()) return fail(error);
    log::error("{}; its key cannot be used, `larder check --repair` puts it right",
               error.message());
    return {};
  };
  const TruncationHolds::Hold hold(holds_);
  TRY(visit_chains(segments_, cold_reads_, chain_heads(*index_), hold.begin(),
                   {.visit = count, .damaged = pass_over}));
  const MutexLock lock(log_.mutex);
  log_.set_live(live);
  return {};
}

}  // namespace larder::journal
