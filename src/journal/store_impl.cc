#include "journal/store_impl.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "base/log.h"

namespace larder::journal {

using format::RecordHeader;
using format::RecordView;

StoreImpl::StoreImpl(StoreFiles files, std::unique_ptr<Index> index,
                     const LoadedCheckpoint& checkpoint, const StoreOptions& options,
                     Registry& registry, const Clock& clock)
    : segments_(std::move(files)),
      index_(std::move(index)),
      log_(segments_, *index_, poison_),
      commit_(log_, registry),
      options_(options),
      clock_(clock),
      records_(registry.counter("larder_journal_records_total", "Records appended to the journal")),
      bytes_(registry.counter("larder_journal_bytes_total", "Bytes appended to the journal")),
      cold_reads_(registry.counter("larder_journal_cold_reads_total",
                                   "Records read from disk because they were not in memory")),
      checkpoints_(registry.histogram("larder_journal_checkpoint_seconds",
                                      "Duration of the journal's checkpoints")),
      checkpoint_sequence_(checkpoint.sequence_max),
      replay_from_(checkpoint.body.replay_from) {}

Result<void> StoreImpl::recover(const LoadedCheckpoint& checkpoint) {
  TRY_ASSIGN(const ReplayedLog replayed, replay_log(segments_, checkpoint.body, *index_));
  TRY_ASSIGN(auto active, repair_log(segments_, replayed));
  log_.start(std::move(active), replayed.tail, replayed.durable);
  recovery_ = {.clean = checkpoint.body.is_clean != 0 && replayed.tail == checkpoint.body.log_end &&
                        replayed.dropped_bytes == 0 && checkpoint.rejected == 0,
               .checkpoint_sequence = checkpoint.body.sequence,
               .checkpoints_rejected = checkpoint.rejected,
               .records_replayed = replayed.records,
               .tail_bytes_dropped = replayed.dropped_bytes};
  return {};
}

// --- Reading ---

Result<std::optional<std::string>> StoreImpl::get(std::string_view key) {
  if (key.empty() || key.size() > kKeySizeMax) return fail(Code::kInvalid, "key size");
  const uint64_t hash = hash_of(key);
  uint64_t address = 0;
  {
    const IndexShard& shard = index_->shard_of(hash);
    const ReaderLock lock(shard.mutex);
    for (address = shard.find(hash); address != 0;) {
      const auto record = format::view_record(log_.hot(address), address);
      if (!record) break;
      if (record->key == key) {
        if (record->header.is_tombstone()) return std::nullopt;
        return std::string(record->value);
      }
      address = record->header.previous();
    }
  }
  if (address == 0) return std::nullopt;
  return get_cold(key, address);
}

Result<std::optional<std::string>> StoreImpl::get_cold(std::string_view key, uint64_t address) {
  ColdRecord record;
  for (; address != 0; address = record.view.header.previous()) {
    TRY(read_record(address, record));
    if (record.view.key != key) continue;
    if (record.view.header.is_tombstone()) break;
    return std::string(record.view.value);
  }
  return std::nullopt;
}

Result<void> StoreImpl::read_stretch(uint64_t address, ColdRecord& into, size_t read_bytes) {
  cold_reads_.add();
  into.begin = address;
  into.bytes.resize(read_bytes);
  TRY_ASSIGN(const size_t size, segments_.read(address, into.bytes));
  into.bytes.resize(size);
  return {};
}

Result<void> StoreImpl::read_record(uint64_t address, ColdRecord& into, size_t read_bytes) {
  // Of the record that begins there; 0: not even its header is there.
  const auto wanted = [&]() -> uint64_t {
    const auto bytes = into.from(address);
    RecordHeader header;
    if (bytes.size() < sizeof header) return 0;
    std::memcpy(&header, bytes.data(), sizeof header);
    return header.size_bytes();
  };
  uint64_t size = wanted();
  if (size == 0 || size > into.from(address).size()) {
    TRY(read_stretch(address, into, read_bytes));
    size = wanted();
  }
  if (size > into.from(address).size() &&
      size <= sizeof(RecordHeader) + kKeySizeMax + kValueSizeMax)
    TRY(read_stretch(address, into, size));
  const auto bytes = into.from(address);
  const auto record = format::view_record(bytes, address);
  if (!record || !format::verify_record(bytes, *record, files().seed) ||
      record->header.previous() >= address)
    return fail(Code::kCorrupt,
                fmt::format("{}: the record does not verify", segments_.place_of(address)));
  into.view = *record;
  return {};
}

Result<void> StoreImpl::scan(
    const std::function<bool(std::string_view key, std::string_view value)>& visit) {
  // Each shard as it is at one moment: a key is in one shard, so it is in there once.  Chains do
  // not change behind their head.  Sorted, the log is read from one end to the other.
  std::vector<uint64_t> heads;
  for (size_t i = 0; i < Index::kShards; ++i) {
    const IndexShard& shard = index_->shard(i);
    const ReaderLock lock(shard.mutex);
    shard.collect(heads);
  }
  std::sort(heads.begin(), heads.end());

  constexpr size_t kStretchBytes = 256 << 10;
  ColdRecord newest;
  ColdRecord older;
  std::vector<std::string> seen;  // keys of one chain, newest first
  for (const uint64_t head : heads) {
    seen.clear();
    for (uint64_t address = head; address != 0;) {
      ColdRecord& record = address == head ? newest : older;
      TRY(read_record(address, record, address == head ? kStretchBytes : kReadBytes));
      const RecordView& view = record.view;
      address = view.header.previous();
      if (std::ranges::find(seen, view.key) != seen.end()) continue;
      if (!view.header.is_tombstone() && !visit(view.key, view.value)) return {};
      if (view.header.previous() != 0) seen.emplace_back(view.key);
    }
  }
  return {};
}

// --- Writing ---

Result<Address> StoreImpl::apply(std::span<const Change> changes) {
  TRY(poison_.check());
  // Kept from call to call: a batch allocates nothing.
  static thread_local std::vector<Planned> batch;
  uint64_t bytes_max = 0;
  TRY(plan(changes, batch, bytes_max));
  uint64_t end = 0;
  {
    const MutexLock lock(log_.mutex);
    TRY(resolve(batch, bytes_max));
    write(batch);
    end = log_.tail();
  }
  // A log that is never committed must not pile up open files.
  if (log_.has_much_unsynced()) {
    // The batch is applied all the same; the error is sticky and meets the next caller.
    if (auto committed = commit(); !committed) log::warning("{}", committed.error().message());
  }
  return Address{end};
}

Result<void> StoreImpl::plan(std::span<const Change> changes, std::vector<Planned>& batch,
                             uint64_t& bytes_max) {
  batch.clear();
  bytes_max = sizeof(format::FrameHeader);
  if (changes.size() > UINT16_MAX) return fail(Code::kLimit, "changes in a batch");
  for (const Change& change : changes) {
    const size_t value_bytes = change.value ? change.value->size() : 0;
    if (change.key.empty() || change.key.size() > kKeySizeMax || value_bytes > kValueSizeMax)
      return fail(Code::kInvalid, "key or value size");
    bytes_max += format::record_space(change.key.size(), value_bytes);
    Planned& planned = batch.emplace_back();
    planned.change = &change;
    planned.hash = hash_of(change.key);
  }
  if (bytes_max > log_.frame_bytes_max()) return fail(Code::kLimit, "size of a batch");
  if (batch.size() < 2) return {};
  // Keys with one entry come together, in the caller's order; of one key the last change stays.
  std::ranges::sort(batch, {}, [](const Planned& planned) {
    return std::pair(Index::identity_of(planned.hash), planned.change);
  });
  size_t kept = 0;
  for (size_t i = 0; i < batch.size(); ++i) {
    bool is_superseded = false;
    for (size_t j = i + 1;
         j < batch.size() && Index::same_entry(batch[i].hash, batch[j].hash) && !is_superseded; ++j)
      is_superseded = batch[i].change->key == batch[j].change->key;
    if (!is_superseded) batch[kept++] = batch[i];
  }
  batch.resize(kept);
  return {};
}

// Takes one record of the chain into account, newest first, until the key's own record is found.
void StoreImpl::step(Resolved& resolved, const RecordView& record, bool is_match) {
  if (!is_match) return;
  resolved.is_live = !record.header.is_tombstone();
  // A key's own record at the head is not needed behind the new one.
  if (record.address == resolved.head) resolved.previous = record.header.previous();
}

StoreImpl::Resolved StoreImpl::resolve_hot(const Planned& planned) {
  const IndexShard& shard = index_->shard_of(planned.hash);
  const ReaderLock lock(shard.mutex);
  const uint64_t head = shard.find(planned.hash);
  if (planned.resolved.is_known && planned.resolved.head == head) return planned.resolved;
  Resolved resolved{.head = head, .previous = head};
  for (uint64_t address = head; address != 0;) {
    const auto record = format::view_record(log_.hot(address), address);
    if (!record) return resolved;
    const bool is_match = record->key == planned.change->key;
    step(resolved, *record, is_match);
    if (is_match) break;
    address = record->header.previous();
  }
  resolved.is_known = true;
  return resolved;
}

Result<void> StoreImpl::resolve_cold(Planned& planned) {
  Resolved& resolved = planned.resolved;
  ColdRecord record;
  for (uint64_t address = resolved.head; address != 0; address = record.view.header.previous()) {
    TRY(read_record(address, record));
    const bool is_match = record.view.key == planned.change->key;
    step(resolved, record.view, is_match);
    if (is_match) break;
  }
  resolved.is_known = true;
  return {};
}

// Finds each key in its chain.  Where that needs the disk, the mutex is let go and all is looked at
// again.
Result<void> StoreImpl::resolve(std::vector<Planned>& batch, uint64_t bytes_max) {
  while (true) {
    TRY(log_.ensure_room(bytes_max));
    bool is_complete = true;
    for (Planned& planned : batch) {
      planned.resolved = resolve_hot(planned);
      is_complete &= planned.resolved.is_known;
    }
    if (is_complete) return {};
    log_.mutex.unlock();
    Result<void> result;
    for (Planned& planned : batch)
      if (result && !planned.resolved.is_known) result = resolve_cold(planned);
    log_.mutex.lock();
    TRY(result);
  }
}

void StoreImpl::write(std::vector<Planned>& batch) {
  std::byte* const frame = log_.at_tail();
  const uint64_t begin = log_.tail();
  format::FrameHeader header{.durable = log_.durable(), .type = format::FrameType::kBatch};
  uint64_t offset = sizeof header;
  const Planned* before = nullptr;  // the last one that got a record
  for (Planned& planned : batch) {
    const Change& change = *planned.change;
    const bool is_live = planned.resolved.is_live;
    if (!change.value && !is_live) continue;
    uint64_t previous = planned.resolved.previous;
    if (before != nullptr && Index::same_entry(before->hash, planned.hash))
      previous = before->address;
    const uint32_t flags = !change.value ? RecordHeader::kTombstone
                           : is_live     ? 0
                                         : RecordHeader::kNewKey;
    planned.address = begin + offset;
    offset += format::write_record(frame + offset, planned.address, files().seed, previous, flags,
                                   change.key, change.value ? std::string_view(*change.value) : "");
    planned.resolved.previous = previous;
    ++header.record_count;
    before = &planned;
  }
  if (header.record_count == 0) return;
  header.payload_bytes = static_cast<uint32_t>(offset - sizeof header);
  format::write_frame_header(frame, begin, files().seed, header);
  log_.advance(offset);
  // Only now that the batch is safe from the death of the process anyone may see it.
  for (const Planned& planned : batch)
    if (planned.address != 0) publish(planned);
  records_.add(header.record_count);
  bytes_.add(offset);
}

void StoreImpl::publish(const Planned& planned) {
  IndexShard& shard = index_->shard_of(planned.hash);
  const WriterLock lock(shard.mutex);
  const bool is_removal = !planned.change->value;
  if (is_removal)
    shard.add_keys(-1);
  else if (!planned.resolved.is_live)
    shard.add_keys(1);
  // Nothing is left in the chain behind a removed key's record: the entry goes.
  if (is_removal && planned.resolved.previous == 0) return shard.erase(planned.hash);
  shard.put(planned.hash, planned.address);
}

// --- Durability ---

Result<void> StoreImpl::commit() {
  TRY(poison_.check());
  TRY(commit_.wait_durable(log_.tail()));
  if (log_.tail() - replay_from_.load() < options_.checkpoint_after_bytes) return {};
  {
    const MutexLock lock(checkpoint_mutex_);
    if (is_checkpointing_) return {};
  }
  // What was asked for is durable; a checkpoint that fails only makes the next recovery longer.
  if (auto result = checkpoint(false); !result)
    log::warning("no checkpoint of the journal: {}", result.error().message());
  return {};
}

Result<void> StoreImpl::checkpoint(bool is_clean) {
  TRY(poison_.check());
  uint64_t sequence = 0;
  {
    const MutexLock lock(checkpoint_mutex_);
    while (is_checkpointing_) checkpointed_.wait(checkpoint_mutex_);
    is_checkpointing_ = true;
    sequence = ++checkpoint_sequence_;
  }
  Result<uint64_t> result = 0;
  {
    const Timed timed(checkpoints_, clock_);
    result = write_checkpoint(files(), sequence, is_clean, *index_, log_, commit_);
  }
  const MutexLock lock(checkpoint_mutex_);
  is_checkpointing_ = false;
  checkpointed_.notify_all();
  if (result) {
    replay_from_.store(*result);
    return {};
  }
  // A full disk or a damaged sector in the new file leaves the log as good as it was.
  const Error& error = result.error();
  if (!error.is(Code::kNoSpace) && !error.is(Code::kNoDescriptors) && !error.is(Code::kCorrupt))
    poison_.set(error);
  return fail(error);
}

Result<void> StoreImpl::close() {
  TRY(commit());
  return checkpoint(true);
}

}  // namespace larder::journal
