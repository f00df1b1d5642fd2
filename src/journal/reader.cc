#include "journal/reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>

namespace larder::journal {

Reader::Reader(StoreFiles files) : segments_(std::move(files)) {}

Reader::CheckpointState Reader::state_of(const CheckpointKind& kind, uint64_t sequence) const {
  CheckpointState state{.name = kind.name(sequence),
                        .is_increment = kind.prefix == kIncrementPrefix};
  const auto opened = open_checkpoint(files(), kind, sequence);
  Result<void> verified = opened ? opened->pages(files()).verify_rest() : fail(opened.error());
  if (verified && !state.is_increment) {
    Index index;
    if (const auto loaded = load_full_checkpoint(files(), sequence, index); !loaded)
      verified = fail(loaded.error());
  }
  if (verified)
    state.body = opened->body;
  else
    state.error = verified.error();
  return state;
}

Result<std::vector<Reader::CheckpointState>> Reader::checkpoints() {
  std::vector<CheckpointState> states;
  for (const CheckpointKind& kind : {kIncrementFile, kFullFile}) {
    TRY_ASSIGN(std::vector<uint64_t> sequences, files().list(kind.prefix));
    std::ranges::reverse(sequences);
    for (const uint64_t sequence : sequences) states.push_back(state_of(kind, sequence));
  }
  return states;
}

Result<uint64_t> Reader::walk(uint64_t address, LogVisitor& visitor) {
  TRY_ASSIGN(const std::vector<uint64_t> numbers, files().list(kSegmentPrefix));
  segment_count_ = numbers.size();
  return walk_log(segments_, address, visitor);
}

Result<Reader::Recovered> Reader::replay(LoadedCheckpoint checkpoint, OnDamage on_damage) {
  Recovered recovered{.checkpoint = std::move(checkpoint), .log = {}};
  TRY_ASSIGN(recovered.log, replay_log(segments_, recovered.checkpoint, *index_, on_damage));
  begin_ = recovered.log.watermarks.begin;
  key_count_.reset();
  if (recovered.log.live) key_count_ = recovered.log.live->keys;
  return recovered;
}

Result<Reader::Recovered> Reader::recover() {
  index_ = std::make_unique<Index>();
  TRY_ASSIGN(LoadedCheckpoint checkpoint, load_newest_checkpoint(files(), index_));
  return replay(std::move(checkpoint), OnDamage::kFail);
}

Result<Reader::Recovered> Reader::salvage() {
  std::vector<uint64_t> sequences{0};  // none: the log alone
  for (const CheckpointKind& kind : {kIncrementFile, kFullFile}) {
    TRY_ASSIGN(const std::vector<uint64_t> some, files().list(kind.prefix));
    sequences.insert(sequences.end(), some.begin(), some.end());
  }
  std::ranges::sort(sequences, std::greater());
  for (const uint64_t newest : sequences) {
    index_ = std::make_unique<Index>();
    TRY_ASSIGN(LoadedCheckpoint checkpoint, load_newest_checkpoint(files(), index_, newest));
    TRY_ASSIGN(Recovered recovered, replay(std::move(checkpoint), OnDamage::kStop));
    if (recovered.log.watermarks.tail >= recovered.checkpoint.body.log_end) return recovered;
  }
  return fail(Code::kCorrupt, fmt::format("{}: no log to be read", files().directory));
}

Result<std::optional<std::string>> Reader::get(std::string_view key) {
  const uint64_t hash = hash64(key, files().seed);
  uint64_t address = 0;
  {
    const IndexShard& shard = index_->shard_of(hash);
    const ReaderLock lock(shard.mutex);
    address = shard.find(hash).address;
  }
  RecordReader reader(segments_, reads_);
  while (address >= begin_ && address != 0) {
    TRY_ASSIGN(const format::RecordView record, reader.read(address));
    if (record.key == key) {
      if (record.header.is_tombstone()) break;
      return std::string(record.value);
    }
    address = record.header.previous();
  }
  return std::nullopt;
}

// Why a record of the chain that begins at `head` should not be in it.
std::optional<std::string> Reader::misplaced(const format::RecordView& record,
                                             uint64_t head) const {
  const uint64_t hash = hash64(record.key, files().seed);
  const IndexShard& shard = index_->shard_of(hash);
  const ReaderLock lock(shard.mutex);
  if (shard.find(hash).address == head) return std::nullopt;
  return fmt::format("{}: the index leads here by another key", segments_.place_of(record.address));
}

void Reader::scan(const std::function<bool(const format::RecordView& record)>& visit,
                  const std::function<void(uint64_t address, const Error& error)>& damaged) {
  std::vector<uint64_t> heads;
  for (size_t i = 0; i < Index::kShards; ++i) {
    const IndexShard& shard = index_->shard(i);
    const ReaderLock lock(shard.mutex);
    shard.collect(heads);
  }
  // Sorted, the log is read from one end to the other.
  std::sort(heads.begin(), heads.end());
  constexpr size_t kStretchBytes = 256 << 10;
  RecordReader newest(segments_, reads_);
  RecordReader older(segments_, reads_);
  std::vector<std::string> seen;  // keys of one chain, newest first
  for (const uint64_t head : heads) {
    seen.clear();
    for (uint64_t address = head; address >= begin_ && address != 0;) {
      const auto record =
          address == head ? newest.read(address, kStretchBytes) : older.read(address);
      if (!record) {
        damaged(address, record.error());
        break;
      }
      if (const auto why = misplaced(*record, head)) {
        damaged(address, Error(Code::kCorrupt, *why));
        break;
      }
      address = record->header.previous();
      if (std::ranges::find(seen, record->key) != seen.end()) continue;
      if (!record->header.is_tombstone() && !visit(*record)) return;
      if (address >= begin_ && address != 0) seen.emplace_back(record->key);
    }
  }
}

}  // namespace larder::journal
