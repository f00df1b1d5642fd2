#include "app/source_root.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <charconv>
#include <cstring>
#include <memory>

#include "app/cache_directory.h"
#include "base/log.h"

namespace larder::app {
namespace {

constexpr std::string_view kHead = "larder root 1 ";
constexpr std::string_view kMounted = " mounted\n";
constexpr std::string_view kPlain = " plain\n";

// statfs(2) f_type of those whose f_fsid is made of a UUID on the disk.
constexpr uint64_t kExt = 0xEF53;
constexpr uint64_t kBtrfs = 0x9123683E;
constexpr uint64_t kZfs = 0x2FC12FC1;
constexpr uint64_t kBcachefs = 0xCA451A4E;

bool has_lasting_id(uint64_t type) {
  return type == kExt || type == kBtrfs || type == kZfs || type == kBcachefs;
}

bool take_hex(std::string_view& text, uint64_t& number) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number, 16);
  if (error != std::errc()) return false;
  text.remove_prefix(static_cast<size_t>(end - text.data()));
  return true;
}

Result<bool> is_empty(const std::string& path) {
  const std::unique_ptr<DIR, int (*)(DIR*)> directory(opendir(path.c_str()), &closedir);
  if (directory == nullptr) return fail_errno(path);
  errno = 0;
  while (const dirent* entry = readdir(directory.get()))
    if (std::strcmp(entry->d_name, ".") != 0 && std::strcmp(entry->d_name, "..") != 0) return false;
  if (errno != 0) return fail_errno(path);
  return true;
}

}  // namespace

std::string format_root(const RootIdentity& root) {
  return fmt::format("{}{:x} {:x}{}", kHead, root.type, root.file_system_id,
                     root.is_mount_point ? kMounted : kPlain);
}

std::optional<RootIdentity> parse_root(std::string_view text) {
  if (!text.starts_with(kHead)) return {};
  text.remove_prefix(kHead.size());
  RootIdentity root;
  if (!take_hex(text, root.type) || !text.starts_with(' ')) return {};
  text.remove_prefix(1);
  if (!take_hex(text, root.file_system_id)) return {};
  root.is_mount_point = text == kMounted;
  if (!root.is_mount_point && text != kPlain) return {};
  return root;
}

bool may_be_uncovered(const RootIdentity& before, const RootIdentity& now) {
  return !now.is_mount_point && now != before;
}

Result<RootIdentity> identify_root(const std::string& path) {
  // Opening a directory mounts what an automounter has for it; asking by path does not.
  const int fd = open(path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return fail_errno(path);
  struct statfs found = {};
  struct statx status = {};
  const bool known =
      fstatfs(fd, &found) == 0 && statx(fd, "", AT_EMPTY_PATH, STATX_TYPE, &status) == 0;
  const int error = errno;
  close(fd);
  errno = error;
  if (!known) return fail_errno(path);
  RootIdentity root;
  root.type = static_cast<uint32_t>(found.f_type);
  static_assert(sizeof found.f_fsid == sizeof root.file_system_id);
  if (has_lasting_id(root.type))
    std::memcpy(&root.file_system_id, &found.f_fsid, sizeof found.f_fsid);
  root.is_mount_point = (status.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0;
  return root;
}

Result<void> check_source_root(io::Disk& disk, const std::string& source, const std::string& path) {
  const auto now = identify_root(source);
  const auto known = read_text(disk, kRootName);
  if (!known && !known.error().is(Code::kNotFound))
    return fail(known.error().code(), known.error().message());
  const auto before = known ? parse_root(*known) : std::nullopt;
  if (!now || !before || !may_be_uncovered(*before, *now)) return {};
  const auto empty = is_empty(source);
  if (!empty) return {};  // it does not answer after all
  if (!*empty) {
    log::warning("SOURCE {} is on another file system than before", source);
    return {};
  }
  return fail(
      Code::kInvalid,
      fmt::format("SOURCE {} is an empty directory and not the {} this cache was made of: mount "
                  "that first, or, if it is meant to be empty, remove {} and try again",
                  source, before->is_mount_point ? "mounted file system" : "file system", path));
}

Result<void> remember_source_root(io::Disk& disk, const std::string& source) {
  const auto now = identify_root(source);
  if (!now) return {};
  const std::string text = format_root(*now);
  const auto known = read_text(disk, kRootName);
  if (known && *known == text) return {};
  return write_text(disk, kRootName, text);
}

}  // namespace larder::app
