#include "journal/checkpoint_file.h"

#include <fmt/format.h>

#include "format/frame.h"

namespace larder::journal {

uint64_t page_seed(const StoreFiles& files, uint64_t sequence) {
  return format::seed_at(files.seed, sequence);
}

Result<CheckpointFile> open_checkpoint(const StoreFiles& files, const CheckpointKind& kind,
                                       uint64_t sequence) {
  const std::string path = files.path(kind.name(sequence));
  CheckpointFile checkpoint;
  TRY_ASSIGN(checkpoint.file, files.disk.open(path, io::OpenMode::kReadOnly));
  format::HeaderPage page{};
  TRY_ASSIGN(const size_t size, checkpoint.file->read_at(page, 0));
  TRY_ASSIGN(const format::FileHeader header,
             format::parse_header_page(std::span(page).first(size), kind.magic, &files.uuid, path));
  checkpoint.version = header.version;
  checkpoint.body = format::body_of<format::CheckpointBody>(header);
  if (checkpoint.body.sequence != sequence)
    return fail(Code::kCorrupt,
                fmt::format("{}: is checkpoint {}", path, checkpoint.body.sequence));
  return checkpoint;
}

}  // namespace larder::journal
