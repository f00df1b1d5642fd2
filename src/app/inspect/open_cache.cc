#include "app/inspect/open_cache.h"

#include <fmt/format.h>

#include <algorithm>

#include "app/cache_directory.h"
#include "app/distant_mounts.h"
#include "io/posix_disk.h"

namespace larder::app {
namespace {

std::string in_use(const std::string& path) {
  const std::string holder = holder_of(path);
  const auto table = read_mount_table();
  if (table && !find_mount(*table, holder))
    if (const auto mount = find_distant_mount({}, holder))
      return fmt::format("{} is in use: {} (--force reads it all the same)", path,
                         describe(*mount));
  return fmt::format(
      "{} is in use by a larder mount{}: what is read there changes meanwhile; unmount it, or "
      "give a copy (--force reads it all the same)",
      path, holder.empty() ? "" : " on " + holder);
}

}  // namespace

Result<std::unique_ptr<io::Disk>> open_cache_to_look(const std::string& path, bool even_in_use) {
  auto disk = io::open_posix_disk_read_only(path, even_in_use ? "" : kLockName);
  if (!disk && disk.error().is(Code::kLocked)) return fail(Code::kLocked, in_use(path));
  if (!disk)
    return fail(disk.error().code(),
                fmt::format("cannot read {}: {}", path, code_name(disk.error().code())));
  const auto names = (*disk)->list("");
  if (!names) return fail(names.error().code(), names.error().message());
  const auto has = [&](std::string_view name) {
    return std::ranges::find(*names, name) != names->end();
  };
  if (!has(kMarkName) && !has(kJournalName))
    return fail(Code::kInvalid,
                fmt::format("{} is no cache directory: it has neither {} nor {}; `larder status` "
                            "names that of a mount",
                            path, kMarkName, kJournalName));
  return disk;
}

}  // namespace larder::app
