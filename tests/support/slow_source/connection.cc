#include "connection.h"

#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
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

bool abort_connection(int connection) {
  const std::string path = "/sys/fs/fuse/connections/" + std::to_string(connection) + "/abort";
  const int fd = open(path.c_str(), O_WRONLY | O_CLOEXEC);
  if (fd < 0) return false;
  const bool written = write(fd, "1", 1) == 1;
  close(fd);
  return written;
}

}  // namespace larder::slow_source
