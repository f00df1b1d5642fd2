#include "app/mount_table.h"

#include <fmt/format.h>

#include <filesystem>
#include <ranges>

#include "app/text_file.h"

namespace larder::app {
namespace {

namespace files = std::filesystem;

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  while (true) {
    const size_t end = text.find(separator);
    parts.push_back(text.substr(0, end));
    if (end == std::string_view::npos) return parts;
    text.remove_prefix(end + 1);
  }
}

std::string without_trailing_slash(std::string path) {
  while (path.size() > 1 && path.ends_with('/')) path.pop_back();
  return path;
}

}  // namespace

std::string decode_octal(std::string_view text) {
  std::string plain;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 3 < text.size()) {
      plain += static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 +
                                 (text[i + 3] - '0'));
      i += 3;
    } else {
      plain += text[i];
    }
  }
  return plain;
}

std::vector<MountEntry> parse_mountinfo(std::string_view text) {
  std::vector<MountEntry> table;
  for (const std::string_view line : split(text, '\n')) {
    const size_t dash = line.find(" - ");
    if (dash == std::string_view::npos) continue;
    const auto before = split(line.substr(0, dash), ' ');
    const auto after = split(line.substr(dash + 3), ' ');
    if (before.size() < 6 || after.size() < 2) continue;
    table.push_back({decode_octal(before[4]), decode_octal(after[0]), decode_octal(after[1]),
                     std::string(before[2]), std::string(before[5])});
  }
  return table;
}

Result<std::vector<MountEntry>> read_mount_table() {
  TRY_ASSIGN(const std::string text, read_text_file("/proc/self/mountinfo"));
  return parse_mountinfo(text);
}

std::optional<MountEntry> find_mount(const std::vector<MountEntry>& table, std::string_view path) {
  for (const MountEntry& entry : std::views::reverse(table))
    if (entry.mountpoint == path) return entry;
  return {};
}

std::optional<MountEntry> find_mount_of(const std::vector<MountEntry>& table,
                                        std::string_view path) {
  const MountEntry* best = nullptr;
  for (const MountEntry& entry : table)
    if (is_within(path, entry.mountpoint) &&
        (best == nullptr || entry.mountpoint.size() >= best->mountpoint.size()))
      best = &entry;
  return best == nullptr ? std::optional<MountEntry>{} : *best;
}

bool is_within(std::string_view path, std::string_view directory) {
  if (directory == "/") return path.starts_with('/');
  return path.starts_with(directory) &&
         (path.size() == directory.size() || path[directory.size()] == '/');
}

Result<std::string> resolve_mountpoint(const std::string& path) {
  std::error_code error;
  const files::path plain = without_trailing_slash(files::absolute(path).string());
  const std::string name = plain.filename().string();
  if (!name.empty() && name != "." && name != "..") {
    const files::path parent = files::canonical(plain.parent_path(), error);
    if (error) return fail(static_cast<Code>(error.value()), path);
    std::string place = (parent / name).string();
    TRY_ASSIGN(const auto table, read_mount_table());
    if (find_mount(table, place)) return place;
  }
  const files::path whole = files::canonical(plain, error);
  if (error) return fail(static_cast<Code>(error.value()), path);
  return whole.string();
}

Result<MountEntry> larder_mount_of(const std::string& path) {
  const auto resolved = resolve_mountpoint(path);
  if (!resolved) return fail(resolved.error().code(), resolved.error().message());
  TRY_ASSIGN(const auto table, read_mount_table());
  const auto entry = find_mount_of(table, *resolved);
  if (!entry || !entry->is_larder())
    return fail(Code::kInvalid,
                fmt::format("'{}' is not on a larder mount: `larder status` lists them", path));
  return *entry;
}

}  // namespace larder::app
