#include "journal/checkpoint.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <vector>

#include "base/log.h"
#include "journal/index_event.h"

namespace larder::journal {
namespace {

// Damage and unreadable sectors are what the older ones, and the log, are kept for.
bool may_be_passed_over(const Error& error) {
  return error.is(Code::kCorrupt) || error.is(Code::kIo);
}

Result<void> apply_events(const StoreFiles& files, const CheckpointFile& increment, Index& index) {
  PagedReader pages = increment.pages(files);
  std::array<SavedEvent, 256> events{};
  for (uint64_t left = increment.body.event_count; left > 0;) {
    const auto some = std::span(events).first(std::min<uint64_t>(left, events.size()));
    TRY(pages.read(std::as_writable_bytes(some)));
    for (const SavedEvent& saved : some) {
      if (saved.address < increment.body.from || saved.address >= increment.body.replay_from ||
          saved.address % format::kAlignment != 0)
        return fail(Code::kCorrupt, "an event outside of the increment's range");
      const IndexEvent event{.identity = saved.identity,
                             .address = saved.address,
                             .is_removal = (saved.flags & SavedEvent::kRemoval) != 0,
                             .is_alone = (saved.flags & SavedEvent::kAlone) != 0};
      event.apply_to(index);
    }
    left -= some.size();
  }
  return pages.verify_rest();
}

// Applied in part it does no harm: replay from where it begins gives each of its entries its last
// event again.
Result<CheckpointFile> load_increment(const StoreFiles& files, uint64_t sequence,
                                      const LoadedCheckpoint& before, Index& index) {
  TRY_ASSIGN(CheckpointFile increment, open_checkpoint(files, kIncrementFile, sequence));
  const format::CheckpointBody& body = increment.body;
  // Of a checkpoint that was passed over: nothing of it is wanted.
  if (body.full != before.full.sequence) return increment;
  if (body.from != before.body.replay_from || body.replay_from < body.from)
    return fail(Code::kCorrupt,
                fmt::format("it begins at {} and not at {}", body.from, before.body.replay_from));
  TRY(apply_events(files, increment, index));
  return increment;
}

Result<void> load_increments(const StoreFiles& files, LoadedCheckpoint& into, Index& index,
                             uint64_t newest) {
  TRY_ASSIGN(const std::vector<uint64_t> sequences, files.list(kIncrementPrefix));
  if (!sequences.empty()) into.sequence_max = std::max(into.sequence_max, sequences.back());
  if (into.full.sequence == 0) return {};
  for (const uint64_t sequence : sequences) {
    if (sequence < into.full.sequence || sequence > newest) continue;
    const auto loaded = load_increment(files, sequence, into, index);
    if (!loaded && !may_be_passed_over(loaded.error())) return fail(loaded.error());
    if (!loaded) {
      log::warning("{} and later ones are passed over: {}",
                   files.path(kIncrementFile.name(sequence)), loaded.error().message());
      into.has_rejected_increments = true;
      return {};
    }
    if (loaded->body.full != into.full.sequence) continue;
    into.body = loaded->body;
    into.has_live = true;
    ++into.increments;
    into.increment_bytes += loaded->size_bytes();
  }
  return {};
}

}  // namespace

Result<CheckpointFile> load_full_checkpoint(const StoreFiles& files, uint64_t sequence,
                                            Index& index) {
  TRY_ASSIGN(CheckpointFile checkpoint, open_checkpoint(files, kFullFile, sequence));
  PagedReader pages = checkpoint.pages(files);
  for (size_t i = 0; i < Index::kShards; ++i) {
    IndexShard& shard = index.shard(i);
    const WriterLock lock(shard.mutex);
    TRY(shard.load([&](std::span<std::byte> into) { return pages.read(into); }));
  }
  TRY(pages.verify_rest());
  return checkpoint;
}

Result<LoadedCheckpoint> load_newest_checkpoint(const StoreFiles& files,
                                                std::unique_ptr<Index>& index, uint64_t newest) {
  LoadedCheckpoint result;
  TRY_ASSIGN(const std::vector<uint64_t> sequences, files.list(kCheckpointPrefix));
  if (!sequences.empty()) result.sequence_max = sequences.back();
  for (auto it = sequences.rbegin(); it != sequences.rend(); ++it) {
    if (*it > newest) continue;
    const auto loaded = load_full_checkpoint(files, *it, *index);
    if (loaded) {
      result.full = result.body = loaded->body;
      result.full_bytes = loaded->size_bytes();
      result.has_live = loaded->version > 1;
      break;
    }
    const Error& error = loaded.error();
    if (!may_be_passed_over(error)) return fail(error);
    log::warning("checkpoint {} is passed over: {}", *it, error.message());
    ++result.rejected;
    index = std::make_unique<Index>();
  }
  TRY(load_increments(files, result, *index, newest));
  return result;
}

}  // namespace larder::journal
