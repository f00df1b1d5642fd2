#include "app/trace_output.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

namespace larder::app {

Result<TraceOutput> TraceOutput::open(const std::string& path, bool force) {
  if (path == "-") return TraceOutput(STDOUT_FILENO, "standard output");
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
  TraceOutput output(fd, path);
  struct stat is{};
  if (fd < 0 || fstat(fd, &is) != 0) return output.error();
  if (!S_ISREG(is.st_mode)) return output;
  if (is.st_size > 0 && !force)
    return fail(Code::kInvalid, fmt::format("{} is not empty; --force overwrites it", path));
  if (ftruncate(fd, 0) != 0) return output.error();
  return output;
}

TraceOutput::TraceOutput(TraceOutput&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)), name_(std::move(other.name_)) {}

TraceOutput::~TraceOutput() {
  if (fd_ >= 0 && fd_ != STDOUT_FILENO) ::close(fd_);
}

std::unexpected<Error> TraceOutput::error() const {
  return fail(Code::kInvalid, fmt::format("{}: {}", name_, std::strerror(errno)));
}

Result<void> TraceOutput::write(std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = ::write(fd_, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return error();
    text.remove_prefix(static_cast<size_t>(written));
  }
  return {};
}

Result<void> TraceOutput::close() {
  if (::close(std::exchange(fd_, -1)) != 0) return error();
  return {};
}

}  // namespace larder::app
