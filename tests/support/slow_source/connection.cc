#include "connection.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <sstream>

namespace larder::slow_source {

int connection_of(const std::string& mountpoint) {
  // ID PARENT MAJOR:MINOR ROOT MOUNTPOINT ...; the last one covers those before
  std::ifstream mounts("/proc/self/mountinfo");
  int connection = -1;
  for (std::string line; std::getline(mounts, line);) {
    std::istringstream fields(line);
    std::string id, parent, device, root, at;
    fields >> id >> parent >> device >> root >> at;
    if (at == mountpoint && line.find(" - fuse") != std::string::npos)
      connection = std::stoi(device.substr(device.find(':') + 1));
  }
  return connection;
}

namespace {

constexpr const char* kConnections = "/sys/fs/fuse/connections";

// A container or a minimal system may have it not.  It stays: others may use it by then.
bool mount_control_file_system() {
  if (mount("fusectl", kConnections, "fusectl", 0, nullptr) != 0) {
    std::fprintf(stderr, "a hung mount cannot be aborted: mounting fusectl on %s: %s\n",
                 kConnections, std::strerror(errno));
    return false;
  }
  std::fprintf(stderr, "mounted fusectl on %s to abort a hung mount\n", kConnections);
  return true;
}

bool is_control_file_system_mounted() {
  struct statfs found{};
  constexpr long kFuseControlMagic = 0x65735543;  // FUSE_CTL_SUPER_MAGIC in fs/fuse/control.c
  return statfs(kConnections, &found) == 0 && found.f_type == kFuseControlMagic;
}

}  // namespace

bool abort_connection(int connection) {
  if (!is_control_file_system_mounted() && !mount_control_file_system()) return false;
  const std::string path = std::string(kConnections) + "/" + std::to_string(connection) + "/abort";
  const int fd = open(path.c_str(), O_WRONLY | O_CLOEXEC);
  if (fd < 0) {
    if (errno == ENOENT) return false;  // it has ended by itself
    std::fprintf(stderr, "a hung mount cannot be aborted: %s: %s\n", path.c_str(),
                 std::strerror(errno));
    return false;
  }
  const bool written = write(fd, "1", 1) == 1;
  close(fd);
  return written;
}

}  // namespace larder::slow_source
