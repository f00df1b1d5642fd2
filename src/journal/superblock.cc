#include "journal/superblock.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "base/checksum.h"
#include "format/frame.h"

namespace larder::journal {

std::string StoreFiles::path(std::string_view name) const {
  return directory.empty() ? std::string(name) : fmt::format("{}/{}", directory, name);
}

std::string numbered_name(std::string_view prefix, uint64_t number) {
  return fmt::format("{}{:016x}", prefix, number);
}

std::optional<uint64_t> number_of_name(std::string_view name, std::string_view prefix) {
  constexpr size_t kDigits = 16;
  if (!name.starts_with(prefix) || name.size() != prefix.size() + kDigits) return std::nullopt;
  name.remove_prefix(prefix.size());
  uint64_t number = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), number, 16);
  if (error != std::errc() || end != name.data() + name.size()) return std::nullopt;
  return number;
}

Result<std::vector<uint64_t>> StoreFiles::list(std::string_view prefix) const {
  TRY_ASSIGN(const std::vector<std::string> names, disk.list(directory));
  std::vector<uint64_t> numbers;
  for (const std::string& name : names)
    if (const auto number = number_of_name(name, prefix)) numbers.push_back(*number);
  std::sort(numbers.begin(), numbers.end());
  return numbers;
}

Result<void> StoreFiles::sync_entries() const {
  const size_t slash = directory.rfind('/');
  if (!directory.empty())
    TRY(disk.sync_directory(slash == std::string::npos ? "" : directory.substr(0, slash)));
  return disk.sync_directory(directory);
}

Result<void> StoreFiles::publish(const std::string& name) const {
  const std::string new_name = name + std::string(kNewSuffix);
  TRY(disk.rename(path(new_name), path(name)));
  sizes->rename(new_name, name);
  return disk.sync_directory(directory);
}

Result<void> StoreFiles::remove(const std::string& name) const {
  TRY(disk.remove(path(name)));
  sizes->erase(name);
  return {};
}

Result<void> StoreFiles::measure() const {
  TRY_ASSIGN(const std::vector<std::string> names, disk.list(directory));
  for (const std::string& name : names) {
    TRY_ASSIGN(const auto file, disk.open(path(name), io::OpenMode::kReadOnly));
    TRY_ASSIGN(const io::FileInfo info, file->info());
    sizes->set(name, info.size_bytes);
  }
  return {};
}

namespace {

constexpr uint64_t kSegmentBytesMin = 8 << 10;
constexpr uint64_t kSegmentBytesMax = 256 << 20;

Result<void> check_segment_bytes(uint64_t bytes, Code code) {
  if (bytes < kSegmentBytesMin || bytes > kSegmentBytesMax || bytes % format::kHeaderPageBytes != 0)
    return fail(code,
                fmt::format("segment_bytes {}: a multiple of {} from {} to {} is accepted", bytes,
                            format::kHeaderPageBytes, kSegmentBytesMin, kSegmentBytesMax));
  return {};
}

// Random enough to tell stores apart; it is no secret.
format::Uuid make_uuid(const StoreOptions& options, const Clock& clock) {
  const auto wall = static_cast<uint64_t>(clock.wall().count());
  const auto up = static_cast<uint64_t>(clock.monotonic().count());
  const uint64_t high = mix64(wall ^ mix64(options.uuid_salt));
  return {.high = high, .low = mix64(up ^ mix64(high))};
}

Result<void> write_superblock(const StoreFiles& files, const format::Uuid& uuid,
                              uint64_t segment_bytes) {
  const auto page = format::make_header_page_of(
      format::kSuperblockMagic, uuid, format::SuperblockBody{.segment_bytes = segment_bytes});
  const std::string name(kSuperblockName);
  TRY_ASSIGN(const auto file,
             files.disk.open(files.path(name + std::string(kNewSuffix)), io::OpenMode::kCreate));
  TRY(file->truncate(0));
  TRY(file->write_at(page, 0));
  TRY(file->sync_data());
  return files.publish(name);
}

}  // namespace

Result<StoreFiles> open_superblock(io::Disk& disk, const std::string& directory,
                                   const StoreOptions& options, const Clock& clock) {
  StoreFiles files{.disk = disk, .directory = directory};
  auto names = disk.list(directory);
  if (!names && names.error().is(Code::kNotFound)) {
    TRY(disk.make_directory(directory));
    names = disk.list(directory);
  }
  if (!names) return fail(std::move(names).error());
  if (std::ranges::find(*names, kSuperblockName) == names->end()) {
    // The superblock is durable before anything else is written.
    for (const std::string& name : *names)
      if (number_of_name(name, kSegmentPrefix) || number_of_name(name, kCheckpointPrefix) ||
          number_of_name(name, kIncrementPrefix))
        return fail(Code::kCorrupt,
                    fmt::format("{} is there, but no superblock", files.path(name)));
    TRY(check_segment_bytes(options.segment_bytes, Code::kInvalid));
    TRY(write_superblock(files, make_uuid(options, clock), options.segment_bytes));
  }
  return read_superblock(disk, directory);
}

namespace {

Result<format::FileHeader> read_header(const StoreFiles& files, std::string_view name,
                                       const format::Magic& magic) {
  const std::string path = files.path(name);
  TRY_ASSIGN(const auto file, files.disk.open(path, io::OpenMode::kReadOnly));
  format::HeaderPage page{};
  TRY_ASSIGN(const size_t size, file->read_at(page, 0));
  return format::parse_header_page(std::span(page).first(size), magic, nullptr, path);
}

Result<StoreFiles> files_of(StoreFiles files, const format::FileHeader& header,
                            uint64_t segment_bytes) {
  files.uuid = header.store;
  files.version = header.version;
  files.seed = format::seed_of(header.store);
  files.segment_bytes = segment_bytes;
  TRY(check_segment_bytes(segment_bytes, Code::kCorrupt));
  return files;
}

}  // namespace

Result<StoreFiles> read_superblock(io::Disk& disk, const std::string& directory) {
  const StoreFiles files{.disk = disk, .directory = directory};
  TRY_ASSIGN(const format::FileHeader header,
             read_header(files, kSuperblockName, format::kSuperblockMagic));
  return files_of(files, header, format::body_of<format::SuperblockBody>(header).segment_bytes);
}

Result<StoreFiles> infer_superblock(io::Disk& disk, const std::string& directory) {
  const StoreFiles files{.disk = disk, .directory = directory};
  TRY_ASSIGN(const std::vector<uint64_t> numbers, files.list(kSegmentPrefix));
  for (const uint64_t number : numbers) {
    const auto header =
        read_header(files, numbered_name(kSegmentPrefix, number), format::kSegmentMagic);
    if (header)
      return files_of(files, *header, format::body_of<format::SegmentBody>(*header).segment_bytes);
    if (header.error().is(Code::kNewerFormat)) return fail(header.error());
  }
  return fail(Code::kCorrupt, fmt::format("{}: no segment has a header that verifies", directory));
}

Result<void> upgrade_superblock(const StoreFiles& files) {
  if (files.version == format::kJournalVersion) return {};
  return write_superblock(files, files.uuid, files.segment_bytes);
}

}  // namespace larder::journal
