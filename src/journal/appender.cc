#include "journal/appender.h"

#include <algorithm>

namespace larder::journal {

using format::RecordHeader;
using format::RecordView;

Appender::Appender(Segments& segments, Index& index, Log& log, Registry& registry,
                   Counter& cold_reads)
    : segments_(segments),
      index_(index),
      log_(log),
      records_(registry.counter("larder_journal_records_total", "Records appended to the journal")),
      bytes_(registry.counter("larder_journal_bytes_total", "Bytes appended to the journal")),
      cold_reads_(cold_reads) {}

Result<Address> Appender::apply(std::span<const Change> changes) {
  // Kept from call to call: a batch allocates nothing.
  thread_local Batch batch;
  batch.clear();
  uint64_t bytes_max = sizeof(format::FrameHeader);
  if (changes.size() > UINT16_MAX) return fail(Code::kLimit, "changes in a batch");
  for (const Change& change : changes) {
    const size_t value_bytes = change.value ? change.value->size() : 0;
    if (change.key.empty() || change.key.size() > kKeySizeMax || value_bytes > kValueSizeMax)
      return fail(Code::kInvalid, "key or value size");
    bytes_max += format::record_space(change.key.size(), value_bytes);
    Planned& planned = batch.emplace_back();
    planned.key = change.key;
    if (change.value) planned.value = *change.value;
    planned.place = batch.size();
    planned.hash = hash_of(change.key);
  }
  if (bytes_max > log_.frame_bytes_max()) return fail(Code::kLimit, "size of a batch");
  drop_superseded(batch);
  const MutexLock lock(log_.mutex);
  TRY(append(batch, bytes_max));
  return Address{log_.tail()};
}

bool Appender::may_be_newest(const RecordView& record, uint64_t hash) const {
  const IndexShard& shard = index_.shard_of(hash);
  const ReaderLock lock(shard.mutex);
  const ChainHead head = shard.find(hash);
  return head.address == record.address || (head.address > record.address && !head.is_alone);
}

Result<size_t> Appender::move(std::span<const RecordView> records) {
  Batch batch;
  batch.reserve(records.size());
  uint64_t bytes_max = sizeof(format::FrameHeader);
  for (const RecordView& record : records) {
    bytes_max += record.header.space();
    Planned& planned = batch.emplace_back();
    planned.key = record.key;
    planned.value = record.value;
    planned.place = batch.size();
    planned.only_from = record.address;
    planned.hash = hash_of(record.key);
    // While it is the chain's head there is nothing to look for.
    planned.resolved = {.is_known = true, .head = record.address};
    step(planned.resolved, record);
  }
  if (bytes_max > log_.frame_bytes_max()) return fail(Code::kLimit, "size of a moved batch");
  drop_superseded(batch);
  {
    const MutexLock lock(log_.mutex);
    TRY(append(batch, bytes_max));
  }
  return std::ranges::count_if(batch, [](const Planned& planned) { return planned.address != 0; });
}

void Appender::drop_removal(const RecordView& record) {
  const uint64_t hash = hash_of(record.key);
  const MutexLock log_lock(log_.mutex);
  IndexShard& shard = index_.shard_of(hash);
  const WriterLock lock(shard.mutex);
  if (shard.find(hash).address == record.address) shard.erase(hash);
}

// Brings keys with one entry together, in the caller's order; of one key the last change stays.
void Appender::drop_superseded(Batch& batch) {
  if (batch.size() < 2) return;
  std::ranges::sort(batch, {}, [](const Planned& planned) {
    return std::pair(Index::identity_of(planned.hash), planned.place);
  });
  size_t kept = 0;
  for (size_t i = 0; i < batch.size(); ++i) {
    bool is_superseded = false;
    for (size_t j = i + 1;
         j < batch.size() && Index::same_entry(batch[i].hash, batch[j].hash) && !is_superseded; ++j)
      is_superseded = batch[i].key == batch[j].key;
    if (!is_superseded) batch[kept++] = batch[i];
  }
  batch.resize(kept);
}

Result<void> Appender::append(Batch& batch, uint64_t bytes_max) {
  TRY(resolve(batch, bytes_max));
  write(batch);
  return {};
}

// Takes the key's newest record into account.
void Appender::step(Resolved& resolved, const RecordView& record) {
  resolved.newest = record.address;
  resolved.space = record.header.is_tombstone() ? 0 : record.header.space();
  // A key's own record at the head is not needed behind the new one.
  resolved.previous = record.address == resolved.head ? record.header.previous() : resolved.head;
}

Appender::Resolved Appender::resolve_hot(const Planned& planned) const {
  const IndexShard& shard = index_.shard_of(planned.hash);
  const ReaderLock lock(shard.mutex);
  const uint64_t head = shard.find(planned.hash).address;
  if (planned.resolved.is_known && planned.resolved.head == head) return planned.resolved;
  Resolved resolved{.begin = log_.begin(), .head = head, .previous = head};
  for (uint64_t address = head; address >= resolved.begin;) {
    const auto record = format::view_record(log_.hot(address), address);
    if (!record) return resolved;
    if (record->key == planned.key) {
      step(resolved, *record);
      break;
    }
    address = record->header.previous();
  }
  resolved.is_known = true;
  return resolved;
}

Result<void> Appender::resolve_cold(Planned& planned) {
  Resolved& resolved = planned.resolved;
  RecordReader reader(segments_, cold_reads_);
  for (uint64_t address = resolved.head; address >= resolved.begin;) {
    const auto record = reader.read(address);
    // Removed meanwhile: what counted of it has been moved, and the head has changed.
    if (!record && record.error().is(Code::kNotFound) && log_.begin() > resolved.begin) return {};
    if (!record) return fail(record.error());
    if (record->key == planned.key) {
      step(resolved, *record);
      break;
    }
    address = record->header.previous();
  }
  resolved.is_known = true;
  return {};
}

// Finds each key in its chain.  Where that needs the disk, the mutex is let go and all is looked at
// again.
Result<void> Appender::resolve(Batch& batch, uint64_t bytes_max) {
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

void Appender::write(Batch& batch) {
  std::byte* const frame = log_.at_tail();
  uint64_t offset = sizeof(format::FrameHeader);
  LiveCounts live = log_.live();
  uint16_t record_count = 0;
  const Planned* before = nullptr;  // the last one that got a record
  for (Planned& planned : batch) {
    Resolved& resolved = planned.resolved;
    if (planned.only_from != 0 && planned.only_from != resolved.newest) continue;
    if (!planned.value && !resolved.is_live()) continue;
    if (before != nullptr && Index::same_entry(before->hash, planned.hash))
      resolved.previous = before->address;
    if (resolved.previous < log_.begin()) resolved.previous = 0;
    planned.address = log_.tail() + offset;
    const uint64_t space = format::write_record(
        frame + offset, planned.address, segments_.files().seed, resolved.previous,
        planned.value ? 0 : RecordHeader::kTombstone, planned.key, planned.value.value_or(""));
    offset += space;
    live.bytes += (planned.value ? space : 0) - resolved.space;
    if (planned.value) ++live.keys;
    if (resolved.is_live()) --live.keys;
    ++record_count;
    before = &planned;
  }
  if (record_count == 0) return;
  log_.append_frame(static_cast<uint32_t>(offset - sizeof(format::FrameHeader)), record_count,
                    live);
  // Only now that the batch is safe from the death of the process anyone may see it.
  for (const Planned& planned : batch)
    if (planned.address != 0) publish(planned);
  records_.add(record_count);
  bytes_.add(offset);
}

void Appender::publish(const Planned& planned) {
  IndexShard& shard = index_.shard_of(planned.hash);
  const WriterLock lock(shard.mutex);
  const bool is_alone = planned.resolved.previous == 0;
  // Nothing is left in the chain behind a removed key's record: the entry goes.
  if (!planned.value && is_alone) return shard.erase(planned.hash);
  shard.put(planned.hash, {.address = planned.address, .is_alone = is_alone});
}

}  // namespace larder::journal
