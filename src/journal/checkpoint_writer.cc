#include "journal/checkpoint_writer.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/log.h"
#include "journal/index_event.h"
#include "journal/log_reader.h"

namespace larder::journal {
namespace {

// The last event of each index entry in the stretch of the log.
Result<std::vector<SavedEvent>> collect_events(Segments& segments, uint64_t from, uint64_t to) {
  std::vector<SavedEvent> events;
  LogReader reader(segments, from, to);
  while (true) {
    TRY_ASSIGN(const auto frame, reader.next());
    if (!frame) break;
    const bool is_whole = format::for_each_record(
        frame->header, frame->payload, frame->address, [&](const format::RecordView& record) {
          const IndexEvent event = event_of(record, hash64(record.key, segments.files().seed));
          events.push_back({.address = event.address,
                            .identity = static_cast<uint32_t>(event.identity),
                            .flags = (event.is_removal ? SavedEvent::kRemoval : 0) |
                                     (event.is_alone ? SavedEvent::kAlone : 0)});
        });
    if (!is_whole)
      return fail(Code::kCorrupt,
                  fmt::format("{}: a record exceeds its frame", segments.place_of(frame->address)));
  }
  std::ranges::sort(
      events, {}, [](const SavedEvent& event) { return std::pair(event.identity, event.address); });
  size_t kept = 0;
  for (size_t i = 0; i < events.size(); ++i)
    if (i + 1 == events.size() || events[i + 1].identity != events[i].identity)
      events[kept++] = events[i];
  events.resize(kept);
  return events;
}

}  // namespace

Result<format::CheckpointBody> CheckpointWriter::write_full(uint64_t sequence, bool is_clean) {
  return write(kFullFile, {.sequence = sequence, .is_clean = is_clean ? 1u : 0u},
               [this](PagedWriter& pages, const std::string& name, format::CheckpointBody& body) {
                 return write_shards(pages, name, body);
               });
}

Result<format::CheckpointBody> CheckpointWriter::write_increment(uint64_t sequence, uint64_t full,
                                                                 uint64_t from) {
  return write(kIncrementFile, {.sequence = sequence, .full = full, .from = from},
               [this](PagedWriter& pages, const std::string& name, format::CheckpointBody& body) {
                 return write_events(pages, name, body);
               });
}

template <class WritePages>
Result<format::CheckpointBody> CheckpointWriter::write(const CheckpointKind& kind,
                                                       format::CheckpointBody body,
                                                       WritePages&& write_pages) {
  if (auto result = run(kind, body, write_pages); !result) {
    progress_.enter(CheckpointPhase::kIdle);
    return fail(std::move(result).error());
  }
  return body;
}

template <class WritePages>
Result<void> CheckpointWriter::run(const CheckpointKind& kind, format::CheckpointBody& body,
                                   WritePages&& write_pages) {
  progress_.enter(CheckpointPhase::kPrepare);
  const std::string name = kind.name(body.sequence);
  const std::string new_name = name + std::string(kNewSuffix);
  {
    // Counts and addresses of one moment.
    const MutexLock lock(log_.mutex);
    body.replay_from = body.log_end = log_.tail();
    body.begin = log_.begin();
    body.live_bytes = log_.live().bytes;
    body.live_keys = log_.live().keys;
  }
  const auto make = [&]() -> Result<void> {
    progress_.enter(CheckpointPhase::kWrite);
    TRY_ASSIGN(const auto file, files().disk.open(files().path(new_name), io::OpenMode::kCreate));
    TRY(file->truncate(0));
    PagedWriter pages(*file, format::kHeaderPageBytes, page_seed(files(), body.sequence));
    TRY(write_pages(pages, new_name, body));
    TRY_ASSIGN(body.page_count, pages.finish());
    progress_.enter(CheckpointPhase::kSyncLog);
    TRY(commit_.wait_durable(body.log_end));
    progress_.enter(CheckpointPhase::kSeal);
    TRY(file->write_at(format::make_header_page_of(kind.magic, files().uuid, body), 0));
    return file->sync_data();
  };
  if (auto made = make(); !made) {
    if (auto removed = files().remove(new_name); !removed)
      log::debug("after a failed checkpoint: {}", removed.error().message());
    return made;
  }
  progress_.enter(CheckpointPhase::kPublish);
  TRY(files().publish(name));
  progress_.enter(CheckpointPhase::kVerify);
  TRY_ASSIGN(const CheckpointFile written, open_checkpoint(files(), kind, body.sequence));
  TRY(written.pages(files()).verify_rest());
  progress_.enter(CheckpointPhase::kRetire);
  return {};
}

Result<void> CheckpointWriter::write_shards(PagedWriter& pages, const std::string& name,
                                            format::CheckpointBody& body) {
  std::vector<std::byte> image;
  for (size_t i = 0; i < Index::kShards; ++i) {
    const IndexShard& shard = index_.shard(i);
    // No append between the two: the shard has exactly the records before the tail, and gets no
    // other while it is copied.
    log_.mutex.lock();
    body.log_end = log_.tail();
    shard.mutex.lock_shared();
    log_.mutex.unlock();
    shard.save(body.log_end, image);
    shard.mutex.unlock_shared();
    files().sizes->set(name, pages.end_with(image.size()));
    TRY(pages.append(image));
  }
  return {};
}

Result<void> CheckpointWriter::write_events(PagedWriter& pages, const std::string& name,
                                            format::CheckpointBody& body) {
  TRY_ASSIGN(const auto events, collect_events(segments_, body.from, body.replay_from));
  body.event_count = events.size();
  const auto bytes = std::as_bytes(std::span(events));
  files().sizes->set(name, pages.end_with(bytes.size()));
  return pages.append(bytes);
}

}  // namespace larder::journal
