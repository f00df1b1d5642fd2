#include "app/mount_users.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
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

std::vector<int> all_processes() {
  std::vector<int> pids;
  std::error_code error;
  for (files::directory_iterator at("/proc", error), end; !error && at != end;
       at.increment(error)) {
    const std::string name = at->path().filename().string();
    if (std::ranges::all_of(name, [](char c) { return c >= '0' && c <= '9'; }))
      pids.push_back(std::atoi(name.c_str()));
  }
  return pids;
}

std::string process_name(int pid) {
  std::string name = read_text_file(fmt::format("/proc/{}/comm", pid)).value_or("?");
  if (name.ends_with('\n')) name.pop_back();
  return fmt::format("{} (pid {})", name, pid);
}

std::vector<std::string> processes_using(const std::string& mountpoint, size_t count_max) {
  std::vector<std::string> found;
  for (const int pid : all_processes()) {
    if (found.size() >= count_max) break;
    if (uses(fmt::format("/proc/{}", pid), mountpoint)) found.push_back(process_name(pid));
  }
  return found;
}

}  // namespace larder::app
