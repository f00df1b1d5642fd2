#include "journal/checkpoint.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/log.h"
#include "format/frame.h"
#include "journal/paged_file.h"

namespace larder::journal {
namespace {

uint64_t page_seed(const StoreFiles& files, uint64_t sequence) {
  return format::seed_at(files.seed, sequence);
}

struct OpenCheckpoint {
  std::unique_ptr<io::File> file;
  format::CheckpointBody body;

  PagedReader pages(const StoreFiles& files) const {
    return {*file, format::kHeaderPageBytes, body.page_count, page_seed(files, body.sequence)};
  }
};

Result<OpenCheckpoint> open_checkpoint(const StoreFiles& files, uint64_t sequence) {
  const std::string path = files.path(numbered_name(kCheckpointPrefix, sequence));
  OpenCheckpoint checkpoint;
  TRY_ASSIGN(checkpoint.file, files.disk.open(path, io::OpenMode::kReadOnly));
  format::HeaderPage page{};
  TRY_ASSIGN(const size_t size, checkpoint.file->read_at(page, 0));
  TRY_ASSIGN(const format::FileHeader header,
             format::parse_header_page(std::span(page).first(size), format::kCheckpointMagic,
                                       &files.uuid, path));
  checkpoint.body = format::body_of<format::CheckpointBody>(header);
  if (checkpoint.body.sequence != sequence)
    return fail(Code::kCorrupt,
                fmt::format("{}: is checkpoint {}", path, checkpoint.body.sequence));
  return checkpoint;
}

Result<void> verify(const StoreFiles& files, uint64_t sequence) {
  TRY_ASSIGN(const OpenCheckpoint checkpoint, open_checkpoint(files, sequence));
  return checkpoint.pages(files).verify_rest();
}

Result<void> write_file(const StoreFiles& files, const std::string& name,
                        format::CheckpointBody& body, Index& index, Log& log, GroupCommit& commit) {
  TRY_ASSIGN(const auto file, files.disk.open(files.path(name), io::OpenMode::kCreate));
  TRY(file->truncate(0));
  PagedWriter pages(*file, format::kHeaderPageBytes, page_seed(files, body.sequence));
  body.replay_from = log.tail();
  for (size_t i = 0; i < Index::kShards; ++i) {
    std::vector<std::byte> image;
    {
      // No append meanwhile: the shard has exactly the records before the tail.
      const MutexLock log_lock(log.mutex);
      body.log_end = log.tail();
      const IndexShard& shard = index.shard(i);
      const ReaderLock lock(shard.mutex);
      image = shard.save(body.log_end);
    }
    files.sizes->set(name, pages.end_with(image.size()));
    TRY(pages.append(image));
  }
  TRY_ASSIGN(body.page_count, pages.finish());
  // The image points at records up to log_end.
  TRY(commit.wait_durable(body.log_end));
  TRY(file->write_at(format::make_header_page_of(format::kCheckpointMagic, files.uuid, body), 0));
  return file->sync_data();
}

Result<void> remove_old(const StoreFiles& files) {
  TRY_ASSIGN(const std::vector<uint64_t> sequences, files.list(kCheckpointPrefix));
  for (size_t i = 0; i + kCheckpointsKept < sequences.size(); ++i)
    TRY(files.remove(numbered_name(kCheckpointPrefix, sequences[i])));
  return {};
}

}  // namespace

Result<uint64_t> write_checkpoint(const StoreFiles& files, uint64_t sequence, bool is_clean,
                                  Index& index, Log& log, GroupCommit& commit) {
  const std::string name = numbered_name(kCheckpointPrefix, sequence);
  const std::string new_name = name + std::string(kNewSuffix);
  format::CheckpointBody body{.sequence = sequence, .is_clean = is_clean ? 1u : 0u};
  if (auto written = write_file(files, new_name, body, index, log, commit); !written) {
    if (auto removed = files.remove(new_name); !removed)
      log::debug("after a failed checkpoint: {}", removed.error().message());
    return fail(std::move(written).error());
  }
  TRY(files.publish(name));
  TRY(verify(files, sequence));
  TRY(remove_old(files));
  return body.replay_from;
}

Result<format::CheckpointBody> load_checkpoint(const StoreFiles& files, uint64_t sequence,
                                               Index& index) {
  TRY_ASSIGN(const OpenCheckpoint checkpoint, open_checkpoint(files, sequence));
  PagedReader pages = checkpoint.pages(files);
  for (size_t i = 0; i < Index::kShards; ++i) {
    IndexShard& shard = index.shard(i);
    const WriterLock lock(shard.mutex);
    TRY(shard.load([&](std::span<std::byte> into) { return pages.read(into); }));
  }
  TRY(pages.verify_rest());
  return checkpoint.body;
}

Result<LoadedCheckpoint> load_newest_checkpoint(const StoreFiles& files,
                                                std::unique_ptr<Index>& index) {
  LoadedCheckpoint result;
  TRY_ASSIGN(const std::vector<uint64_t> sequences, files.list(kCheckpointPrefix));
  if (!sequences.empty()) result.sequence_max = sequences.back();
  for (auto it = sequences.rbegin(); it != sequences.rend(); ++it) {
    auto loaded = load_checkpoint(files, *it, *index);
    if (loaded) {
      result.body = *loaded;
      return result;
    }
    const Error& error = loaded.error();
    // Damage and unreadable sectors are what the older ones are kept for.
    if (!error.is(Code::kCorrupt) && !error.is(Code::kIo)) return fail(error);
    log::warning("checkpoint {} is passed over: {}", *it, error.message());
    ++result.rejected;
    index = std::make_unique<Index>();
  }
  return result;
}

}  // namespace larder::journal
