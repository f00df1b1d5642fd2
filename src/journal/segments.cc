#include "journal/segments.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/log.h"

namespace larder::journal {

std::string Segments::place_of(uint64_t address) const {
  return fmt::format("{}, offset {}",
                     files_.path(numbered_name(kSegmentPrefix, number_of(address))),
                     address % files_.segment_bytes);
}

Result<std::shared_ptr<MappedSegment>> Segments::map(uint64_t number,
                                                     std::unique_ptr<io::File> file) {
  TRY_ASSIGN(auto mapping, file->map(0, files_.segment_bytes));
  auto segment = std::make_shared<MappedSegment>();
  segment->number = number;
  segment->begin = number * files_.segment_bytes;
  segment->file = std::move(file);
  segment->mapping = std::move(mapping);
  return segment;
}

Result<std::shared_ptr<MappedSegment>> Segments::create(uint64_t number) {
  const std::string name = numbered_name(kSegmentPrefix, number);
  const std::string new_name = name + std::string(kNewSuffix);
  TRY_ASSIGN(auto file, files_.disk.open(files_.path(new_name), io::OpenMode::kCreate));
  // What an earlier attempt left behind goes: unwritten bytes of a segment are zeros.
  TRY(file->truncate(0));
  files_.sizes->set(new_name, files_.segment_bytes);
  if (auto allocated = file->allocate(0, files_.segment_bytes); !allocated) {
    file.reset();
    if (auto removed = files_.remove(new_name); !removed)
      log::warning("{}", removed.error().message());
    return fail(std::move(allocated).error());
  }
  const auto page = format::make_header_page_of(
      format::kSegmentMagic, files_.uuid,
      format::SegmentBody{.segment = number, .segment_bytes = files_.segment_bytes});
  TRY(file->write_at(page, 0));
  TRY(file->sync_data());
  TRY(files_.publish(name));
  return map(number, std::move(file));
}

Result<std::shared_ptr<MappedSegment>> Segments::open_mapped(uint64_t number) {
  const std::string path = files_.path(numbered_name(kSegmentPrefix, number));
  TRY_ASSIGN(auto file, files_.disk.open(path, io::OpenMode::kReadWrite));
  // A copied store may have holes where space was reserved.
  TRY(file->allocate(0, files_.segment_bytes));
  return map(number, std::move(file));
}

Result<void> Segments::remove(uint64_t number) {
  {
    const MutexLock lock(mutex_);
    // A later segment of this number is another file.
    std::erase_if(open_files_, [&](const OpenFile& open) { return open.number == number; });
  }
  return files_.remove(numbered_name(kSegmentPrefix, number));
}

Result<bool> Segments::truncate_below(uint64_t address) {
  const uint64_t lowest = first();
  if (end_of(lowest) > address) return false;
  TRY(remove(lowest));
  TRY(files_.disk.sync_directory(files_.directory));
  set_first(lowest + 1);
  return end_of(lowest + 1) <= address;
}

Result<void> Segments::read_whole(uint64_t number, std::vector<std::byte>& into) {
  TRY_ASSIGN(const uint64_t size, read_what_is_there(number, into));
  if (size == files_.segment_bytes) return {};
  return fail(Code::kCorrupt, fmt::format("{}: has {} of {} bytes",
                                          files_.path(numbered_name(kSegmentPrefix, number)), size,
                                          files_.segment_bytes));
}

Result<uint64_t> Segments::read_what_is_there(uint64_t number, std::vector<std::byte>& into) {
  TRY_ASSIGN(const auto file, file_of(number));
  into.resize(files_.segment_bytes);
  TRY_ASSIGN(const size_t size, file->read_at(into, 0));
  std::ranges::fill(std::span(into).subspan(size), std::byte{0});
  const std::string name = files_.path(numbered_name(kSegmentPrefix, number));
  TRY_ASSIGN(
      const format::FileHeader header,
      format::parse_header_page(std::span(into).first(std::min(size, format::kHeaderPageBytes)),
                                format::kSegmentMagic, &files_.uuid, name));
  const auto body = format::body_of<format::SegmentBody>(header);
  if (body.segment != number || body.segment_bytes != files_.segment_bytes)
    return fail(Code::kCorrupt, fmt::format("{}: is segment {} of {} bytes", name, body.segment,
                                            body.segment_bytes));
  return size;
}

Result<size_t> Segments::read(uint64_t address, std::span<std::byte> into) {
  const uint64_t number = number_of(address);
  TRY_ASSIGN(const auto file, file_of(number));
  const size_t size = std::min<uint64_t>(into.size(), end_of(number) - address);
  return file->read_at(into.first(size), address % files_.segment_bytes);
}

Result<std::shared_ptr<io::File>> Segments::file_of(uint64_t number) {
  {
    const MutexLock lock(mutex_);
    const auto it = std::ranges::find(open_files_, number, &OpenFile::number);
    if (it != open_files_.end()) {
      it->last_use = ++use_count_;
      return it->file;
    }
  }
  TRY_ASSIGN(std::shared_ptr<io::File> file,
             files_.disk.open(files_.path(numbered_name(kSegmentPrefix, number)),
                              io::OpenMode::kReadOnly));
  const MutexLock lock(mutex_);
  if (open_files_.size() >= kOpenFilesMax)
    open_files_.erase(std::ranges::min_element(open_files_, {}, &OpenFile::last_use));
  open_files_.push_back({.number = number, .last_use = ++use_count_, .file = file});
  return file;
}

}  // namespace larder::journal
