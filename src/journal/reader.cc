#include "journal/reader.h"

#include <fmt/format.h>

#include <algorithm>

namespace larder::journal {

Reader::Reader(StoreFiles files) : segments_(std::move(files)) {}

Result<std::vector<Reader::CheckpointState>> Reader::checkpoints() {
  TRY_ASSIGN(std::vector<uint64_t> sequences, files().list(kCheckpointPrefix));
  std::ranges::reverse(sequences);
  std::vector<CheckpointState> states;
  for (const uint64_t sequence : sequences) {
    CheckpointState& state = states.emplace_back();
    state.sequence = sequence;
    Index index;
    const auto body = load_checkpoint(files(), sequence, index);
    if (body) {
      state.body = *body;
      state.key_count = index.key_count();
    } else {
      state.error = body.error();
    }
  }
  return states;
}

Result<uint64_t> Reader::walk(uint64_t address, LogVisitor& visitor) {
  TRY_ASSIGN(const std::vector<uint64_t> numbers, files().list(kSegmentPrefix));
  segment_count_ = numbers.size();
  return walk_log(segments_, std::max(address, segments_.first_frame(0)), visitor);
}

Result<Reader::Recovered> Reader::recover() {
  index_ = std::make_unique<Index>();
  Recovered recovered;
  TRY_ASSIGN(recovered.checkpoint, load_newest_checkpoint(files(), index_));
  TRY_ASSIGN(recovered.log, replay_log(segments_, recovered.checkpoint.body, *index_));
  return recovered;
}

Result<Reader::Recovered> Reader::salvage() {
  TRY_ASSIGN(std::vector<uint64_t> sequences, files().list(kCheckpointPrefix));
  sequences.insert(sequences.begin(), 0);  // none: the log alone
  uint64_t rejected = 0;
  for (auto sequence = sequences.rbegin(); sequence != sequences.rend(); ++sequence) {
    index_ = std::make_unique<Index>();
    Recovered recovered;
    recovered.checkpoint.sequence_max = sequences.back();
    recovered.checkpoint.rejected = rejected;
    if (*sequence != 0) {
      ++rejected;
      const auto body = load_checkpoint(files(), *sequence, *index_);
      if (!body) continue;
      recovered.checkpoint.body = *body;
    }
    TRY_ASSIGN(recovered.log,
               replay_log(segments_, recovered.checkpoint.body, *index_, OnDamage::kStop));
    if (recovered.log.tail >= recovered.checkpoint.body.log_end) return recovered;
  }
  return fail(Code::kCorrupt, fmt::format("{}: no log to be read", files().directory));
}

Result<std::optional<std::string>> Reader::get(std::string_view key) {
  const uint64_t hash = hash64(key, files().seed);
  uint64_t address = 0;
  {
    const IndexShard& shard = index_->shard_of(hash);
    const ReaderLock lock(shard.mutex);
    address = shard.find(hash);
  }
  RecordReader reader(segments_);
  while (address != 0) {
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
  if (shard.find(hash) == head) return std::nullopt;
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
  RecordReader newest(segments_, kStretchBytes);
  RecordReader older(segments_);
  std::vector<std::string> seen;  // keys of one chain, newest first
  for (const uint64_t head : heads) {
    seen.clear();
    for (uint64_t address = head; address != 0;) {
      const auto record = (address == head ? newest : older).read(address);
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
      if (address != 0) seen.emplace_back(record->key);
    }
  }
}

}  // namespace larder::journal
