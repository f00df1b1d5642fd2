#include "app/preflight.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cctype>
#include <cstdlib>
#include <filesystem>
#include <sstream>

#include "app/cache_disk.h"
#include "app/text_file.h"
#include "base/checksum.h"
#include "base/log.h"
#include "source/breaker.h"

namespace larder::app {
namespace {

namespace files = std::filesystem;

template <class... Args>
std::unexpected<Error> refuse(fmt::format_string<Args...> format, Args&&... args) {
  return fail(Code::kInvalid, fmt::format(format, std::forward<Args>(args)...));
}

std::string_view reason(const std::error_code& error) {
  return code_name(static_cast<Code>(error.value()));
}

// The path is there, but what is mounted on it does not answer.
bool is_outage(const std::error_code& error) {
  return source::fault_of(static_cast<Code>(error.value())) != source::Fault::kNone ||
         error.value() == ESTALE;
}

// "host:/dir" and "s3://bucket" are what other file systems mount.
std::string advice_for_missing(const std::string& path) {
  const size_t colon = path.find(':');
  if (colon == path.npos || colon == 0 || path.find('/') < colon)
    return "create it or correct the path";
  if (path.substr(colon, 3) == "://")
    return fmt::format(
        "larder caches directories: mount it first, as with rclone(1) or s3fs(1), and give the "
        "directory where it is mounted");
  return fmt::format(
      "larder caches directories: mount it first, as with `sshfs {} DIRECTORY` or `mount -t nfs {} "
      "DIRECTORY`, and give DIRECTORY",
      path, path);
}

// A source that is down may be mounted: what is cached of it is served.  Without a cache of it the
// mount fails when it asks for the root.
Result<std::string> check_source(const std::string& path) {
  std::error_code error;
  const files::path real = files::canonical(path, error);
  if (error.value() == ENOENT)
    return refuse("SOURCE '{}' does not exist: {}", path, advice_for_missing(path));
  if (is_outage(error)) return files::absolute(path).lexically_normal().string();
  if (error) return refuse("SOURCE '{}' cannot be reached: {}", path, reason(error));
  const bool is_directory = files::is_directory(real, error);
  if (is_outage(error)) return real.string();
  if (!is_directory)
    return refuse("SOURCE '{}' is not a directory: name the directory to be cached", path);
  if (access(real.c_str(), R_OK | X_OK) != 0)
    return refuse("SOURCE '{}' cannot be read: {}: ask its owner for read and search permission",
                  path, code_name(static_cast<Code>(errno)));
  return real.string();
}

Result<std::string> check_mountpoint(const std::string& path, const Surroundings& surroundings) {
  std::error_code error;
  const files::path real = files::canonical(path, error);
  if (error.value() == ENOENT)
    return refuse("MOUNTPOINT '{}' does not exist: create it with `mkdir {}`", path, path);
  if (error.value() == ENOTCONN)
    return refuse(
        "MOUNTPOINT '{}' is a dead mount: clear it with `larder umount {}` or "
        "`fusermount3 -u {}` first",
        path, path, path);
  if (error) return refuse("MOUNTPOINT '{}' cannot be reached: {}", path, reason(error));
  if (!files::is_directory(real, error)) {
    if (error.value() == ENOTCONN)
      return refuse(
          "MOUNTPOINT '{}' is a dead mount: clear it with `larder umount {}` or "
          "`fusermount3 -u {}` first",
          path, path, path);
    return refuse("MOUNTPOINT '{}' is not a directory: name an empty directory", path);
  }
  const auto mounted = find_mount(surroundings.mounts, real.string());
  if (mounted && mounted->is_larder())
    return refuse("MOUNTPOINT '{}' already is a larder mount of {}: `larder umount {}` ends it",
                  path, mounted->source, path);
  // systemd's automount waits there for this very mount.
  if (mounted && mounted->type != "autofs")
    return refuse(
        "MOUNTPOINT '{}' already has {} ({}) mounted on it: unmount that or choose another "
        "directory",
        path, mounted->source, mounted->type);
  if (surroundings.uid != 0 && access(real.c_str(), W_OK) != 0)
    return refuse("MOUNTPOINT '{}' is not writable for you: mount on a directory of your own",
                  path);
  return real.string();
}

Result<void> check_apart(const std::string& source, const std::string& mountpoint) {
  if (source == mountpoint)
    return refuse("SOURCE and MOUNTPOINT are the same directory '{}': choose another MOUNTPOINT",
                  source);
  if (is_within(mountpoint, source))
    return refuse("MOUNTPOINT '{}' lies inside SOURCE '{}': choose one outside", mountpoint,
                  source);
  if (is_within(source, mountpoint))
    return refuse(
        "SOURCE '{}' lies inside MOUNTPOINT '{}', which would hide it: choose another "
        "MOUNTPOINT",
        source, mountpoint);
  return {};
}

// A source that is empty and a mount point that is not are likely each other.
Result<void> check_not_swapped(const Config& config, const CheckedPaths& paths,
                               const Surroundings& surroundings) {
  if (config.nonempty) return {};
  // Whoever looks into an automounter's directory waits for this very mount.
  const auto mounted = find_mount_of(surroundings.mounts, paths.mountpoint);
  if (mounted && mounted->type == "autofs") return {};
  std::error_code error;
  if (files::is_empty(paths.mountpoint, error) || error) return {};
  if (!files::is_empty(paths.source, error) || error) return {};
  return refuse(
      "SOURCE '{}' is empty and MOUNTPOINT '{}' is not: it is `larder mount SOURCE MOUNTPOINT`; if "
      "it is meant so, give -o nonempty",
      paths.source, paths.mountpoint);
}

Result<void> check_fuse(const Config& config, const Surroundings& surroundings) {
  const std::string& device = surroundings.fuse_device;
  const int fd = open(device.c_str(), O_RDWR | O_CLOEXEC);
  const int error = errno;
  if (fd >= 0) close(fd);
  if (fd < 0 && (error == ENOENT || error == ENODEV || error == ENXIO))
    return refuse(
        "{} is missing: load the module with `modprobe fuse`, or give the container "
        "`--device /dev/fuse`",
        device);
  if (fd < 0)
    return refuse(
        "{} cannot be opened: {}: run as root, or let your user (or the container) use the "
        "device",
        device, code_name(static_cast<Code>(error)));
  if (surroundings.uid == 0) return {};

  bool found = false;
  std::stringstream directories(surroundings.search_path);
  for (std::string directory; std::getline(directories, directory, ':');)
    found = found || access((directory + "/fusermount3").c_str(), X_OK) == 0;
  if (!found) return refuse("fusermount3 is not installed: `apt install fuse3`");

  if (!config.allow_other) return {};
  std::stringstream conf(read_text_file(surroundings.fuse_conf).value_or(""));
  for (std::string line; std::getline(conf, line);)
    if (line.substr(0, line.find_last_not_of(" \t\r") + 1) == "user_allow_other") return {};
  return refuse("allow_other is for root only, unless {} has the line user_allow_other",
                surroundings.fuse_conf);
}

// Resolves what exists of the path and keeps the rest as it is.
Result<std::string> resolve_future(const std::string& path) {
  std::error_code error;
  const files::path real = files::weakly_canonical(path, error);
  if (error) return refuse("cache_dir '{}' cannot be reached: {}", path, reason(error));
  std::string text = real.string();
  while (text.size() > 1 && text.ends_with('/')) text.pop_back();
  return text;
}

Result<void> check_cache_place(const std::string& cache, const std::string& source,
                               const std::string& mountpoint) {
  constexpr std::string_view kAdvice = "choose a directory outside both, on a local disk";
  if (is_within(cache, source))
    return refuse("cache_dir '{}' lies inside SOURCE '{}': {}", cache, source, kAdvice);
  if (is_within(cache, mountpoint))
    return refuse("cache_dir '{}' lies inside MOUNTPOINT '{}': {}", cache, mountpoint, kAdvice);
  if (is_within(source, cache))
    return refuse("cache_dir '{}' contains SOURCE '{}': {}", cache, source, kAdvice);
  if (is_within(mountpoint, cache))
    return refuse("cache_dir '{}' contains MOUNTPOINT '{}': {}", cache, mountpoint, kAdvice);
  return {};
}

std::unexpected<Error> cache_error(const std::string& cache, int error) {
  switch (error) {
    case EROFS:
      return refuse("cache_dir '{}' is on a read-only file system: choose a writable local disk",
                    cache);
    case ENOSPC:
    case EDQUOT:
      return refuse("cache_dir '{}' is on a full disk: free some space or choose another disk",
                    cache);
    case EACCES:
    case EPERM:
      return refuse(
          "cache_dir '{}' is not yours to read and write: change its owner or choose "
          "another with -o cache_dir=DIR",
          cache);
    case ENODEV:
      return refuse(
          "cache_dir '{}' is on a file system that cannot map files into memory ({}): choose a "
          "directory on a local disk",
          cache, code_name(static_cast<Code>(error)));
    case ENOTDIR:
    case EEXIST:
      return refuse("cache_dir '{}' is not a directory: choose another with -o cache_dir=DIR",
                    cache);
    default:
      return refuse("cache_dir '{}' cannot be used: {}: choose another with -o cache_dir=DIR",
                    cache, code_name(static_cast<Code>(error)));
  }
}

// As `mkdir -p` with mode 0700 for what is new.
int create_directories(const std::string& path) {
  struct stat status;
  if (stat(path.c_str(), &status) == 0) return S_ISDIR(status.st_mode) ? 0 : ENOTDIR;
  if (errno != ENOENT) return errno;
  const std::string parent = files::path(path).parent_path().string();
  if (parent != path)
    if (const int error = create_directories(parent)) return error;
  return mkdir(path.c_str(), 0700) == 0 || errno == EEXIST ? 0 : errno;
}

// Permission bits do not tell all (root, quotas, read-only mounts): so a file is really written.
int try_writing(const std::string& directory) {
  std::string name = directory + "/.larder-probe-XXXXXX";
  const int fd = mkostemp(name.data(), O_CLOEXEC);
  if (fd < 0) return errno;
  const std::string probe(65536, 'x');
  const ssize_t written = write(fd, probe.data(), probe.size());
  int error = written < 0 ? errno : written < static_cast<ssize_t>(probe.size()) ? ENOSPC : 0;
  if (error == 0 && fsync(fd) != 0) error = errno;
  // The journal's end is mapped.
  if (error == 0) {
    void* const mapped = mmap(nullptr, probe.size(), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (mapped == MAP_FAILED)
      error = errno;
    else
      munmap(mapped, probe.size());
  }
  close(fd);
  unlink(name.c_str());
  return error;
}

Result<std::string> prepare_cache(const std::string& cache) {
  if (const int error = create_directories(cache)) return cache_error(cache, error);
  if (access(cache.c_str(), R_OK | W_OK | X_OK) != 0) return cache_error(cache, errno);
  if (const int error = try_writing(cache)) return cache_error(cache, error);
  std::error_code error;
  const files::path real = files::canonical(cache, error);
  if (error) return cache_error(cache, error.value());
  return real.string();
}

}  // namespace

Result<Surroundings> Surroundings::of_this_process() {
  const auto variable = [](const char* name) {
    const char* value = std::getenv(name);
    return std::string(value == nullptr ? "" : value);
  };
  Surroundings found;
  found.uid = geteuid();
  found.home = variable("HOME");
  found.xdg_cache_home = variable("XDG_CACHE_HOME");
  found.search_path = variable("PATH");
  TRY_ASSIGN(found.mounts, read_mount_table());
  return found;
}

namespace {

std::string user_cache(const Surroundings& surroundings) {
  if (surroundings.uid == 0) return surroundings.system_cache;
  return surroundings.xdg_cache_home.starts_with('/') ? surroundings.xdg_cache_home
                                                      : surroundings.home + "/.cache";
}

std::string disk_notes_of(const Surroundings& surroundings) {
  return user_cache(surroundings) + "/larder/.disks";
}

// The control directory is in front of what has its name in the source.
std::vector<std::string> hidden_by_control_directory(const std::string& source,
                                                     const std::string& control_dir) {
  std::error_code error;
  const auto status = files::symlink_status(source + "/" + control_dir, error);
  if (!files::exists(status)) return {};
  return {
      fmt::format("SOURCE has a '{}' of its own, which the control directory hides: name that "
                  "otherwise with -o control_dir=NAME",
                  control_dir)};
}

}  // namespace

std::string default_cache_dir(const std::string& source, const Surroundings& surroundings) {
  std::string name = files::path(source).filename().string().substr(0, 100);
  for (char& c : name)
    if (!std::isalnum(static_cast<unsigned char>(c)) && c != '-' && c != '_' && c != '.') c = '_';
  if (name.empty()) name = "root";
  return fmt::format("{}/larder/{}-{:016x}", user_cache(surroundings), name, hash64(source));
}

Result<CheckedPaths> preflight(const Config& config, const std::string& source,
                               const std::string& mountpoint, const Surroundings& surroundings) {
  CheckedPaths paths;
  TRY_ASSIGN(paths.source, check_source(source));
  TRY_ASSIGN(paths.mountpoint, check_mountpoint(mountpoint, surroundings));
  TRY(check_apart(paths.source, paths.mountpoint));
  TRY(check_not_swapped(config, paths, surroundings));
  TRY(check_fuse(config, surroundings));
  if (surroundings.uid != 0) TRY(config.kernel_flags.check_allowed_to_users());
  if (config.cache_dir.empty() && surroundings.uid != 0 && surroundings.home.empty() &&
      !surroundings.xdg_cache_home.starts_with('/'))
    return refuse("there is no place for the cache, HOME is not set: give -o cache_dir=DIR");
  TRY_ASSIGN(const std::string cache,
             resolve_future(config.cache_dir.empty() ? default_cache_dir(paths.source, surroundings)
                                                     : config.cache_dir));
  TRY(check_cache_place(cache, paths.source, paths.mountpoint));
  TRY(check_cache_disk(cache, disk_notes_of(surroundings), surroundings));
  TRY_ASSIGN(paths.cache_dir, prepare_cache(cache));
  if (const auto noted =
          note_cache_disk(paths.cache_dir, disk_notes_of(surroundings), surroundings);
      !noted)
    log::debug("{}", noted.error().message());
  paths.notes = hidden_by_control_directory(paths.source, config.control_dir);
  return paths;
}

}  // namespace larder::app
