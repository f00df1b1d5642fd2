#include "io/disk.h"

#include <unistd.h>

#include <limits>
#include <string_view>

#include "base/check.h"

namespace larder::io {
namespace {

constexpr uint64_t kOffsetMax = std::numeric_limits<int64_t>::max();

// Each component must be a plain name: no "", "." or "..".
Result<void> check_path(std::string_view path) {
  size_t begin = 0;
  while (true) {
    const size_t end = path.find('/', begin);
    const std::string_view name =
        path.substr(begin, end == std::string_view::npos ? end : end - begin);
    if (name.empty() || name == "." || name == ".." || name.find('\0') != std::string_view::npos)
      return fail(Code::kInvalid, "path '" + std::string(path) + "'");
    if (end == std::string_view::npos) return {};
    begin = end + 1;
  }
}

Result<void> check_directory(std::string_view path) {
  if (path.empty()) return {};  // the root
  return check_path(path);
}

}  // namespace

Result<void> check_file_range(uint64_t offset, uint64_t length) {
  if (offset > kOffsetMax || length > kOffsetMax - offset)
    return fail(Code::kInvalid, "range beyond the largest offset");
  return {};
}

Result<size_t> File::read_at(std::span<std::byte> into, uint64_t offset) {
  TRY(check_file_range(offset, into.size()));
  size_t done = 0;
  while (done < into.size()) {
    TRY_ASSIGN(const size_t n, do_read(into.subspan(done), offset + done));
    if (n == 0) break;  // end of file
    CHECK(n <= into.size() - done);
    done += n;
  }
  return done;
}

Result<size_t> File::read_once_at(std::span<std::byte> into, uint64_t offset) {
  TRY(check_file_range(offset, into.size()));
  if (do_read_cached(into, offset)) return into.size();
  auto got = read_at(into, offset);
  do_drop_cached(offset, into.size());
  return got;
}

Result<void> File::write_at(std::span<const std::byte> from, uint64_t offset) {
  TRY(check_file_range(offset, from.size()));
  size_t done = 0;
  while (done < from.size()) {
    TRY_ASSIGN(const size_t n, do_write(from.subspan(done), offset + done));
    if (n == 0) return fail(Code::kIo, "write made no progress");
    CHECK(n <= from.size() - done);
    done += n;
  }
  return {};
}

Result<void> File::sync_data() {
  return do_sync_data();
}

Result<void> File::truncate(uint64_t size_bytes) {
  TRY(check_file_range(size_bytes, 0));
  return do_truncate(size_bytes);
}

Result<void> File::allocate(uint64_t offset, uint64_t length) {
  TRY(check_file_range(offset, length));
  if (length == 0) return {};
  return do_allocate(offset, length);
}

Result<void> File::punch(uint64_t offset, uint64_t length) {
  TRY(check_file_range(offset, length));
  if (length == 0) return {};
  return do_punch(offset, length);
}

Result<FileInfo> File::info() {
  return do_info();
}

Result<std::optional<uint64_t>> File::next_data(uint64_t offset) {
  TRY(check_file_range(offset, 0));
  return do_next_data(offset);
}

Result<bool> File::is_used_elsewhere() {
  return do_is_used_elsewhere();
}

Result<bool> File::do_is_used_elsewhere() {
  return fail(Code::kNotSupported, "whether a file is in use");
}

Result<std::optional<uint64_t>> File::do_next_data(uint64_t offset) {
  TRY_ASSIGN(const FileInfo file, do_info());
  if (offset >= file.size_bytes) return std::nullopt;
  return offset;
}

Result<std::unique_ptr<Mapping>> File::map(uint64_t offset, size_t length) {
  static const uint64_t page_bytes = static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
  TRY(check_file_range(offset, length));
  if (length == 0 || offset % page_bytes != 0) return fail(Code::kInvalid, "map range");
  // A touch beyond the end would be a SIGBUS.
  TRY_ASSIGN(const FileInfo file, do_info());
  if (offset + length > file.size_bytes) return fail(Code::kInvalid, "map beyond the end");
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

Result<void> Disk::exchange(const std::string& one, const std::string& other) {
  TRY(check_path(one));
  TRY(check_path(other));
  return do_exchange(one, other);
}

Result<void> Disk::do_exchange(const std::string& one, const std::string& other) {
  return fail(Code::kNotSupported, "exchange " + one + " with " + other);
}

Result<void> Disk::remove(const std::string& path) {
  TRY(check_path(path));
  return do_remove(path);
}

Result<void> Disk::make_directory(const std::string& path) {
  TRY(check_path(path));
  return do_make_directory(path);
}

Result<FileInfo> Disk::info(const std::string& path) {
  TRY(check_directory(path));
  return do_path_info(path);
}

Result<std::vector<std::string>> Disk::list(const std::string& directory) {
  TRY(check_directory(directory));
  return do_list(directory);
}

Result<void> Disk::sync_directory(const std::string& directory) {
  TRY(check_directory(directory));
  return do_sync_directory(directory);
}

Result<void> Disk::sync_all() {
  return do_sync_all();
}

Result<SpaceInfo> Disk::space() {
  return do_space();
}

}  // namespace larder::io
