#include "app/path_list.h"

#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <filesystem>

#include "app/mount_table.h"

namespace larder::app {

Result<bool> PathReader::fill() {
  std::array<char, 65536> chunk;
  ssize_t got = 0;
  do {
    got = read(fd_, chunk.data(), chunk.size());
  } while (got < 0 && errno == EINTR);
  if (got < 0) return fail_errno("the list of paths");
  pending_.erase(0, taken_);
  taken_ = 0;
  pending_.append(chunk.data(), static_cast<size_t>(got));
  return got > 0;
}

Result<std::optional<std::string>> PathReader::next() {
  constexpr size_t kPathMax = size_t{1} << 20;
  while (true) {
    if (!separator_)
      if (const size_t at = pending_.find_first_of(std::string_view("\0\n", 2));
          at != pending_.npos)
        separator_ = pending_[at];
    const size_t end = separator_ ? pending_.find(*separator_, taken_) : pending_.npos;
    if (end == pending_.npos && !at_end_) {
      if (pending_.size() - taken_ > kPathMax)
        return fail(Code::kLimit, "a path of the list is longer than 1 MiB");
      TRY_ASSIGN(const bool more, fill());
      at_end_ = !more;
      continue;
    }
    if (end == pending_.npos && taken_ == pending_.size()) return std::optional<std::string>();
    const size_t stop = std::min(end, pending_.size());
    std::string path = pending_.substr(taken_, stop - taken_);
    taken_ = std::min(stop + 1, pending_.size());
    if (!path.empty()) return std::optional(std::move(path));
  }
}

Result<std::string> path_on_mount(std::string_view path, const std::string& mountpoint,
                                  const std::string& working_directory) {
  namespace files = std::filesystem;
  const std::string& base =
      is_within(working_directory, mountpoint) ? working_directory : mountpoint;
  std::string whole = (files::path(base) / path).lexically_normal().string();
  while (whole.size() > 1 && whole.ends_with('/')) whole.pop_back();
  if (!is_within(whole, mountpoint))
    return fail(Code::kInvalid, fmt::format("'{}' is not on the mount {}", path, mountpoint));
  if (whole.size() == mountpoint.size()) return ".";
  return whole.substr(mountpoint == "/" ? 1 : mountpoint.size() + 1);
}

}  // namespace larder::app
