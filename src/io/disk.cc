#include "io/disk.h"

#include <limits>

#include "base/check.h"

namespace larder::io {
namespace {

bool is_valid_path(const std::string& path) {
  if (path.starts_with('/')) return false;
  for (size_t start = 0; start <= path.size();) {
    const size_t end = std::min(path.find('/', start), path.size());
    if (path.compare(start, end - start, "..") == 0) return false;
    start = end + 1;
  }
  return true;
}

Result<void> check_range(uint64_t offset, uint64_t length) {
  constexpr auto kMax = static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
  if (offset > kMax || length > kMax - offset) return fail(Code::kInvalid, "file range");
  return {};
}

Result<void> check_path(const std::string& path) {
  if (!is_valid_path(path)) return fail(Code::kInvalid, "path " + path);
  return {};
}

}  // namespace

Result<size_t> File::read_at(std::span<std::byte> into, uint64_t offset) {
  TRY(check_range(offset, into.size()));
  size_t done = 0;
  while (done < into.size()) {
    TRY_ASSIGN(const size_t count, do_read(into.subspan(done), offset + done));
    if (count == 0) break;
    done += count;
  }
  return done;
}

Result<void> File::write_at(std::span<const std::byte> from, uint64_t offset) {
  TRY(check_range(offset, from.size()));
  for (size_t done = 0; done < from.size();) {
    TRY_ASSIGN(const size_t count, do_write(from.subspan(done), offset + done));
    CHECK(count > 0);
    done += count;
  }
  return {};
}

Result<void> File::sync_data() {
  return do_sync_data();
}

Result<void> File::truncate(uint64_t size_bytes) {
  TRY(check_range(size_bytes, 0));
  return do_truncate(size_bytes);
}

Result<void> File::allocate(uint64_t offset, uint64_t length) {
  TRY(check_range(offset, length));
  return do_allocate(offset, length);
}

Result<void> File::punch(uint64_t offset, uint64_t length) {
  TRY(check_range(offset, length));
  return do_punch(offset, length);
}

Result<FileInfo> File::info() {
  return do_info();
}

Result<std::unique_ptr<Mapping>> File::map(uint64_t offset, size_t length) {
  TRY(check_range(offset, length));
  return do_map(offset, length);
}

Result<std::unique_ptr<File>> Disk::open(const std::string& path, OpenMode mode) {
  TRY(check_path(path));
  return do_open(path, mode);
}

Result<void> Disk::rename(const std::string& from, const std::string& to) {
  TRY(check_path(from));
  TRY(check_path(to));
  return do_rename(from, to);
}

Result<void> Disk::remove(const std::string& path) {
  TRY(check_path(path));
  return do_remove(path);
}

Result<void> Disk::make_directory(const std::string& path) {
  TRY(check_path(path));
  return do_make_directory(path);
}

Result<std::vector<std::string>> Disk::list(const std::string& directory) {
  TRY(check_path(directory));
  return do_list(directory);
}

Result<void> Disk::sync_directory(const std::string& directory) {
  TRY(check_path(directory));
  return do_sync_directory(directory);
}

Result<void> Disk::sync_all() {
  return do_sync_all();
}

Result<SpaceInfo> Disk::space() {
  return do_space();
}

}  // namespace larder::io
