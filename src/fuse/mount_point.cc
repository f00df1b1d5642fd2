#include "fuse/mount_point.h"

#include <fcntl.h>
#include <limits.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <fstream>
#include <sstream>
#include <vector>

namespace larder::fuse {
namespace {

struct Line {
  std::string device;
  std::string path;
};

// mountinfo writes space, tab, newline and backslash as \ooo.
std::string unescape(const std::string& text) {
  std::string result;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 3 < text.size()) {
      result += static_cast<char>(std::stoi(text.substr(i + 1, 3), nullptr, 8));
      i += 3;
    } else {
      result += text[i];
    }
  }
  return result;
}

std::vector<Line> mount_table() {
  std::vector<Line> lines;
  std::ifstream table("/proc/self/mountinfo");
  for (std::string text; std::getline(table, text);) {
    std::istringstream words(text);
    std::string id, parent, device, root, path;
    if (words >> id >> parent >> device >> root >> path) lines.push_back({device, unescape(path)});
  }
  return lines;
}

// An unprivileged user's mounts are undone by libfuse's setuid helper.
Result<void> run_fusermount(std::vector<const char*> arguments) {
  arguments.insert(arguments.begin(), "fusermount3");
  arguments.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
  pid_t child = 0;
  const int error = posix_spawnp(&child, "fusermount3", &actions, nullptr,
                                 const_cast<char* const*>(arguments.data()), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (error != 0) {
    errno = error;
    return fail_errno("fusermount3");
  }
  int status = 0;
  while (waitpid(child, &status, 0) < 0)
    if (errno != EINTR) return fail_errno("fusermount3");
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return {};
  return fail(Code::kBusy, "fusermount3");
}

Result<void> write_text(const std::string& path, const std::string& text) {
  const int fd = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
  if (fd < 0) return fail_errno(path);
  const bool written = ::write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size());
  const int error = errno;
  ::close(fd);
  errno = error;
  if (!written) return fail_errno(path);
  return {};
}

}  // namespace

Result<MountPoint> MountPoint::find(const std::string& path) {
  MountPoint mount;
  mount.path_ = path;
  for (const Line& line : mount_table())
    if (line.path == mount.path_) mount.device_ = line.device;  // the last one is on top
  if (mount.device_.empty()) return fail(Code::kNotFound, path + " in the mount table");
  return mount;
}

bool MountPoint::mounted() const {
  for (const Line& line : mount_table())
    if (line.path == path_ && line.device == device_) return true;
  return false;
}

Result<void> MountPoint::unmount() const {
  if (!mounted()) return {};
  if (geteuid() != 0) return run_fusermount({"-u", "-q", "--", path_.c_str()});
  if (umount2(path_.c_str(), UMOUNT_NOFOLLOW) != 0) return fail_errno("unmount " + path_);
  return {};
}

Result<void> MountPoint::tear_off() const {
  // One may abort one's own connection; fusectl need not be mounted.
  const std::string minor = device_.substr(device_.find(':') + 1);
  const bool aborted = write_text("/sys/fs/fuse/connections/" + minor + "/abort", "1").has_value();
  if (!mounted()) return {};
  if (geteuid() != 0) return run_fusermount({"-u", "-q", "-z", "--", path_.c_str()});
  const int force = aborted ? 0 : MNT_FORCE;
  if (umount2(path_.c_str(), UMOUNT_NOFOLLOW | MNT_DETACH | force) != 0)
    return fail_errno("detach " + path_);
  return {};
}

Result<void> MountPoint::set_readahead(size_t size_bytes) const {
  return write_text("/sys/class/bdi/" + device_ + "/read_ahead_kb",
                    std::to_string(size_bytes / 1024));
}

}  // namespace larder::fuse
