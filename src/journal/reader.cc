#include "journal/reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>

#include "base/check.h"
#include "journal/chains.h"

namespace larder::journal {

Reader::Reader(StoreFiles files) : segments_(std::move(files)), begin_(segments_.first_frame(0)) {}

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

// With the newest one whose log is there as far as it was durable then.
Result<std::optional<Reader::Recovered>> Reader::salvage_from_checkpoint() {
  std::vector<uint64_t> sequences;
  for (const CheckpointKind& kind : {kIncrementFile, kFullFile}) {
    TRY_ASSIGN(const std::vector<uint64_t> some, files().list(kind.prefix));
    sequences.insert(sequences.end(), some.begin(), some.end());
  }
  std::ranges::sort(sequences, std::greater());
  for (const uint64_t newest : sequences) {
    index_ = std::make_unique<Index>();
    TRY_ASSIGN(LoadedCheckpoint checkpoint, load_newest_checkpoint(files(), index_, newest));
    if (checkpoint.full.sequence == 0) break;
    TRY_ASSIGN(Recovered recovered, replay(std::move(checkpoint), OnDamage::kStop));
    if (recovered.log.watermarks.tail >= recovered.checkpoint.body.log_end) return recovered;
  }
  return std::nullopt;
}

// By itself: what is before it does not count, or is out of reach.
Result<Reader::Recovered> Reader::salvage_run(const LogRun& run) {
  LoadedCheckpoint start;
  start.body.replay_from = start.body.begin = std::max(run.from, run.begin);
  index_ = std::make_unique<Index>();
  TRY_ASSIGN(Recovered recovered, replay(std::move(start), OnDamage::kStop));
  if (!run.is_whole()) key_count_.reset();  // it counts the others too
  return recovered;
}

Result<Reader::Recovered> Reader::salvage() {
  uint64_t durable = 0;
  TRY_ASSIGN(const std::vector<CheckpointState> states, checkpoints());
  for (const CheckpointState& state : states) durable = std::max(durable, state.body.log_end);
  TRY_ASSIGN(const LogRuns log, find_log_runs(segments_, durable));
  TRY_ASSIGN(std::optional<Recovered> best, salvage_from_checkpoint());
  const auto whole = std::ranges::find_if(log.runs.rbegin(), log.runs.rend(), &LogRun::is_whole);
  // Up to the same run the log alone is the better one: none of its records is in the damage.
  const auto next = whole.base();
  if (whole != log.runs.rend() &&
      (!best || next == log.runs.end() || next->from >= best->log.watermarks.tail)) {
    TRY_ASSIGN(best, salvage_run(*whole));
  } else if (!best && !log.runs.empty()) {
    TRY_ASSIGN(best, salvage_run(log.runs.back()));
  }
  if (!best) return fail(Code::kCorrupt, fmt::format("{}: no log to be read", files().directory));
  best->is_older = best->log.watermarks.tail < log.durable;
  return std::move(*best);
}

Result<std::optional<std::string>> Reader::get(std::string_view key) {
  const uint64_t hash = hash64(key, files().seed);
  uint64_t address = 0;
  {
    const IndexShard& shard = index_->shard_of(hash);
    const ReaderLock lock(shard.mutex);
    address = shard.find(hash).address;
  }
  return find_in_chain(segments_, reads_, key, address, begin_);
}

// A record should be in the chain that the index has for its key.
Result<void> Reader::check_place(const format::RecordView& record, uint64_t head) const {
  const uint64_t hash = hash64(record.key, files().seed);
  const IndexShard& shard = index_->shard_of(hash);
  const ReaderLock lock(shard.mutex);
  if (shard.find(hash).address == head) return {};
  return fail(Code::kCorrupt, fmt::format("{}: the index leads here by another key",
                                          segments_.place_of(record.address)));
}

void Reader::scan(const std::function<bool(const format::RecordView& record)>& visit,
                  const std::function<void(uint64_t address, const Error& error)>& damaged) {
  const ChainVisitor visitor{
      .visit = visit,
      .damaged = [&](uint64_t address, const Error& error) -> Result<void> {
        damaged(address, error);
        return {};
      },
      .check = [&](const auto& record, uint64_t head) { return check_place(record, head); }};
  const auto visited = visit_chains(segments_, reads_, chain_heads(*index_), begin_, visitor);
  CHECK(visited.has_value());  // what is damaged does not end it
}

}  // namespace larder::journal
