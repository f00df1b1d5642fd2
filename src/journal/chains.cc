#include "journal/chains.h"

#include <algorithm>

#include "journal/record_reader.h"

namespace larder::journal {
namespace {

using format::RecordView;

class ChainWalk {
 public:
  ChainWalk(Segments& segments, Counter& reads, uint64_t begin, const ChainVisitor& visitor)
      : visitor_(visitor), begin_(begin), newest_(segments, reads), older_(segments, reads) {}

  // False when the visitor wants no more.
  Result<bool> go_along(uint64_t head) {
    seen_.clear();
    for (uint64_t address = head; address >= begin_;) {
      const auto record = read(address, head);
      if (!record) {
        TRY(visitor_.damaged(address, record.error()));
        return true;
      }
      address = record->header.previous();
      if (std::ranges::find(seen_, record->key) != seen_.end()) continue;
      if (!record->header.is_tombstone() && !visitor_.visit(*record)) return false;
      if (address >= begin_) seen_.emplace_back(record->key);
    }
    return true;
  }

 private:
  Result<RecordView> read(uint64_t address, uint64_t head) {
    constexpr size_t kStretchBytes = 256 << 10;
    TRY_ASSIGN(const RecordView record,
               address == head ? newest_.read(address, kStretchBytes) : older_.read(address));
    if (visitor_.check) TRY(visitor_.check(record, head));
    return record;
  }

  const ChainVisitor& visitor_;
  const uint64_t begin_;
  RecordReader newest_;
  RecordReader older_;
  std::vector<std::string> seen_;  // keys of one chain, newest first
};

}  // namespace

std::vector<uint64_t> chain_heads(const Index& index) {
  std::vector<uint64_t> heads;
  for (size_t i = 0; i < Index::kShards; ++i) {
    const IndexShard& shard = index.shard(i);
    const ReaderLock lock(shard.mutex);
    shard.collect(heads);
  }
  std::ranges::sort(heads);
  return heads;
}

Result<std::optional<std::string>> find_in_chain(Segments& segments, Counter& reads,
                                                 std::string_view key, uint64_t address,
                                                 uint64_t begin) {
  RecordReader reader(segments, reads);
  while (address >= begin) {
    TRY_ASSIGN(const RecordView record, reader.read(address));
    if (record.key == key) {
      if (record.header.is_tombstone()) break;
      return std::string(record.value);
    }
    address = record.header.previous();
  }
  return std::nullopt;
}

Result<void> visit_chains(Segments& segments, Counter& reads, std::span<const uint64_t> heads,
                          uint64_t begin, const ChainVisitor& visitor) {
  ChainWalk walk(segments, reads, begin, visitor);
  for (const uint64_t head : heads) {
    TRY_ASSIGN(const bool goes_on, walk.go_along(head));
    if (!goes_on) return {};
  }
  return {};
}

}  // namespace larder::journal
