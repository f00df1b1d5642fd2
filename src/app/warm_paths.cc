#include "app/warm_paths.h"

#include <fmt/format.h>

#include <filesystem>

#include "app/mount_table.h"
#include "app/path_list.h"

namespace larder::app {
namespace {

namespace files = std::filesystem;

std::string absolute_path(const std::string& given) {
  std::string absolute = files::absolute(given).lexically_normal().string();
  while (absolute.size() > 1 && absolute.ends_with('/')) absolute.pop_back();
  return absolute;
}

}  // namespace

Result<std::string> PathsOfUser::on_mount(const std::string& path) const {
  if (path.starts_with('/')) {
    if (is_within(path, mountpoint_given))
      return path_on_mount(mountpoint + path.substr(mountpoint_given.size()), mountpoint, {});
    auto absolute = path_on_mount(path, mountpoint, {});
    if (absolute) return absolute;
    if (is_within(path, source))
      return fail(Code::kInvalid,
                  fmt::format("{}: it is that of the source: on the mount it is {}{}",
                              absolute.error().detail(), mountpoint, path.substr(source.size())));
    return fail(Code::kInvalid, absolute.error().detail() +
                                    ": without the first / it would count from the mount's root");
  }
  if (is_within(working_directory, mountpoint) || counts_from_root(path))
    return path_on_mount(path, mountpoint, working_directory);
  // As completed by a shell: mnt/x from where mnt is.
  const std::string from_here = absolute_path(working_directory + "/" + path);
  return path_on_mount(mountpoint + from_here.substr(mountpoint_given.size()), mountpoint, {});
}

bool PathsOfUser::counts_from_root(const std::string& path) const {
  return !path.starts_with('/') && !is_within(working_directory, mountpoint) &&
         !is_within(absolute_path(working_directory + "/" + path), mountpoint_given);
}

Result<WarmPlace> find_warm_place(const std::string& given) {
  std::error_code error;
  const std::string absolute = absolute_path(given);
  // What does not exist cannot be resolved, but what leads to it can.
  const auto resolved = resolve_mountpoint(given);
  const std::string place =
      resolved ? *resolved : files::weakly_canonical(absolute, error).string();
  TRY_ASSIGN(const auto table, read_mount_table());
  const auto mount = error ? std::nullopt : find_mount_of(table, place);
  if (!mount || !mount->is_larder())
    return fail(Code::kInvalid,
                fmt::format("'{}' is not on a larder mount: `larder status` lists them", given));
  const std::string& root = mount->mountpoint;
  const bool is_root = place == root;
  return WarmPlace{root, is_root ? "." : place.substr(root == "/" ? 1 : root.size() + 1),
                   PathsOfUser{root, is_root ? absolute : root, files::current_path(error).string(),
                               mount->source}};
}

std::string missing_line(const std::string& path) {
  if (path.ends_with('\r'))
    return fmt::format(
        "not found: {}\\r: the list has carriage returns at the ends of its lines: `tr -d '\\r'` "
        "takes them off",
        path.substr(0, path.size() - 1));
  return fmt::format("not found: {}", path);
}

}  // namespace larder::app
