#include "app/cache_disk.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "app/text_file.h"
#include "base/checksum.h"

namespace larder::app {
namespace {

namespace files = std::filesystem;

std::string note_name(const std::string& cache, const std::string& notes) {
  return fmt::format("{}/{:016x}", notes, hash64(cache));
}

// Where fstab wants something mounted that is not, so that `cache` would lie beneath.
std::string unmounted_place(const std::string& cache, const Surroundings& surroundings) {
  std::istringstream table(read_text_file(surroundings.fstab).value_or(""));
  for (std::string line; std::getline(table, line);) {
    std::istringstream words(line);
    std::string device, place;
    if (!(words >> device >> place) || device.starts_with('#') || !place.starts_with('/')) continue;
    std::error_code error;
    const std::string real = files::weakly_canonical(decode_octal(place), error).string();
    if (error || real == "/" || !is_within(cache, real)) continue;
    if (find_mount(surroundings.mounts, real)) continue;
    if (!files::exists(real, error) || (files::is_empty(real, error) && !error)) return real;
  }
  return {};
}

// Beneath which mount point the cache directory was; empty: not known.
std::string noted_place(const std::string& cache, const std::string& notes) {
  std::istringstream note(read_text_file(note_name(cache, notes)).value_or(""));
  std::string path, place;
  std::getline(note, path);
  std::getline(note, place);
  return path == cache ? place : "";
}

}  // namespace

Result<void> check_cache_disk(const std::string& cache, const std::string& notes,
                              const Surroundings& surroundings) {
  const std::string unmounted = unmounted_place(cache, surroundings);
  if (!unmounted.empty())
    return fail(Code::kInvalid,
                fmt::format("cache_dir '{}' lies in {}, which {} mounts and which is not mounted: "
                            "`mount {}` first, or choose another directory",
                            cache, unmounted, surroundings.fstab, unmounted));
  const std::string noted = noted_place(cache, notes);
  const auto now = find_mount_of(surroundings.mounts, cache);
  if (noted.empty() || !now || now->mountpoint == noted || !is_within(noted, now->mountpoint))
    return {};
  return fail(
      Code::kInvalid,
      fmt::format("cache_dir '{}' was on the file system of {}, which is not mounted: mount "
                  "it first; if the cache is to be here from now on, remove {}",
                  cache, noted, note_name(cache, notes)));
}

Result<void> note_cache_disk(const std::string& cache, const std::string& notes,
                             const Surroundings& surroundings) {
  const auto now = find_mount_of(surroundings.mounts, cache);
  if (!now || now->mountpoint == "/" || now->mountpoint == noted_place(cache, notes)) return {};
  std::error_code error;
  files::create_directories(notes, error);
  if (error) return fail(static_cast<Code>(error.value()), notes);
  const std::string name = note_name(cache, notes);
  std::ofstream note(name, std::ios::trunc);
  note << cache << '\n' << now->mountpoint << '\n';
  note.close();
  if (!note) return fail(Code::kIo, "write " + name);
  return {};
}

}  // namespace larder::app
