#include "app/mount_users.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "app/mount_table.h"
#include "app/text_file.h"

namespace larder::app {
namespace {

namespace files = std::filesystem;

bool points_into(const files::path& link, const std::string& mountpoint) {
  std::error_code error;
  const files::path target = files::read_symlink(link, error);
  return !error && is_within(target.string(), mountpoint);
}

bool uses(const files::path& process, const std::string& mountpoint) {
  for (const char* link : {"cwd", "root", "exe"})
    if (points_into(process / link, mountpoint)) return true;
  std::error_code error;
  for (files::directory_iterator at(process / "fd", error), end; !error && at != end;
       at.increment(error))
    if (points_into(at->path(), mountpoint)) return true;
  return false;
}

}  // namespace

std::vector<std::string> processes_using(const std::string& mountpoint, size_t count_max) {
  std::vector<std::string> found;
  std::error_code error;
  for (files::directory_iterator at("/proc", error), end;
       !error && at != end && found.size() < count_max; at.increment(error)) {
    const std::string pid = at->path().filename().string();
    if (!std::ranges::all_of(pid, [](char c) { return c >= '0' && c <= '9'; })) continue;
    if (!uses(at->path(), mountpoint)) continue;
    std::string name = read_text_file("/proc/" + pid + "/comm").value_or("?");
    if (name.ends_with('\n')) name.pop_back();
    found.push_back(fmt::format("{} (pid {})", name, pid));
  }
  return found;
}

}  // namespace larder::app
