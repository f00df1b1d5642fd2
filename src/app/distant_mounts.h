// Larder mounts that are not in this mount namespace but in another: one that was unmounted here
// lives on, with its daemon and the lock on its cache directory, as long as a container or service
// that was started meanwhile has its copy of it.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "app/mount_table.h"

namespace larder::app {

struct DistantMount {
  MountEntry entry;                    // as it is there
  std::vector<std::string> processes;  // of that namespace: "sleep (pid 4711)", the first few
  int pid = 0;                         // of one of them
};

// As far as this user may see: root sees all.  Asks /proc only, never a mount.
std::vector<DistantMount> distant_larder_mounts();

// The one on this device ("0:45"), or that was at this place, or shows this source; what is empty
// is not looked for.
std::optional<DistantMount> find_distant_mount(std::string_view device, std::string_view mountpoint,
                                               std::string_view source = {});
// Describes the one that was at this place, given as a user gives it; empty: there is none.
std::string living_on_elsewhere(const std::string& path);

// "/mnt of /src lives on in the mount namespace of sleep (pid 4711): end that, or `nsenter -t 4711
// -m umount /mnt`".
std::string describe(const DistantMount& mount);

}  // namespace larder::app
