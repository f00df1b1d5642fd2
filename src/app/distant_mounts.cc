#include "app/distant_mounts.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <set>

#include "app/mount_users.h"
#include "app/text_file.h"

namespace larder::app {
namespace {

namespace files = std::filesystem;

constexpr size_t kProcessesNamed = 3;

struct Namespace {
  std::vector<int> pids;  // the first few
  size_t process_count = 0;
};

std::string namespace_of(const std::string& process) {
  std::error_code error;
  return files::read_symlink("/proc/" + process + "/ns/mnt", error).string();
}

// By the name of each, without our own.
std::map<std::string, Namespace> other_namespaces() {
  std::map<std::string, Namespace> found;
  const std::string ours = namespace_of("self");
  for (const int pid : all_processes()) {
    const std::string name = namespace_of(std::to_string(pid));
    if (name.empty() || name == ours) continue;
    Namespace& other = found[name];
    ++other.process_count;
    if (other.pids.size() < kProcessesNamed) other.pids.push_back(pid);
  }
  return found;
}

std::vector<MountEntry> larder_mounts_seen_by(int pid) {
  const auto text = read_text_file(fmt::format("/proc/{}/mountinfo", pid));
  std::vector<MountEntry> mounts = text ? parse_mountinfo(*text) : std::vector<MountEntry>();
  std::erase_if(mounts, [](const MountEntry& mount) { return !mount.is_larder(); });
  return mounts;
}

}  // namespace

std::vector<DistantMount> distant_larder_mounts() {
  std::set<std::string> here;  // devices
  const auto table = read_mount_table();
  if (!table) return {};
  for (const MountEntry& mount : *table) here.insert(mount.device);
  std::vector<DistantMount> found;
  for (const auto& [name, other] : other_namespaces()) {
    for (const MountEntry& mount : larder_mounts_seen_by(other.pids.front())) {
      if (here.contains(mount.device)) continue;
      DistantMount distant{mount, {}, other.pids.front()};
      for (const int pid : other.pids) distant.processes.push_back(process_name(pid));
      if (other.process_count > other.pids.size())
        distant.processes.push_back(
            fmt::format("{} more", other.process_count - other.pids.size()));
      found.push_back(std::move(distant));
    }
  }
  return found;
}

std::optional<DistantMount> find_distant_mount(std::string_view device, std::string_view mountpoint,
                                               std::string_view source) {
  const auto is = [](std::string_view wanted, const std::string& given) {
    return !wanted.empty() && wanted == given;
  };
  for (DistantMount& mount : distant_larder_mounts())
    if (is(device, mount.entry.device) || is(mountpoint, mount.entry.mountpoint) ||
        is(source, mount.entry.source))
      return std::move(mount);
  return {};
}

std::string living_on_elsewhere(const std::string& path) {
  const auto place = resolve_mountpoint(path);
  const auto mount = place ? find_distant_mount({}, *place) : std::nullopt;
  return mount ? describe(*mount) : "";
}

std::string describe(const DistantMount& mount) {
  return fmt::format(
      "{} of {} lives on in the mount namespace of {}: end that, or `nsenter -t {} -m umount {}`",
      mount.entry.mountpoint, mount.entry.source, fmt::join(mount.processes, ", "), mount.pid,
      mount.entry.mountpoint);
}

}  // namespace larder::app
