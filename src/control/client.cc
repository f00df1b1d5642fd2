#include "control/client.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <thread>
#include <utility>

#include "base/mutex.h"

namespace larder::control {
namespace {

using Json = nlohmann::json;

Result<std::string> read_to_end(int fd) {
  std::string text;
  std::array<char, 65536> chunk;
  while (true) {
    const ssize_t got = read(fd, chunk.data(), chunk.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail_errno("reading the mount's control files");
    if (got == 0) return text;
    text.append(chunk.data(), static_cast<size_t>(got));
  }
}

Result<std::string> parse_reply(std::string_view line) {
  if (line == "ok") return std::string();
  if (line.starts_with("ok ")) return std::string(line.substr(3));
  if (line.starts_with("error ")) return fail(Code::kIo, std::string(line.substr(6)));
  return fail(Code::kCorrupt, "reply of the mount");
}

}  // namespace

Result<int> parse_pid(std::string_view stats_json) {
  const Json object = Json::parse(stats_json, nullptr, false);
  if (!object.is_object() || !object.contains("pid") || !object["pid"].is_number_integer())
    return fail(Code::kCorrupt, "stats.json");
  return object["pid"].get<int>();
}

Result<std::string> read_virtual_file(const std::string& path, Nanos timeout) {
  struct Shared {
    Mutex mutex;
    CondVar answered;
    std::optional<Result<std::string>> answer GUARDED_BY(mutex);
  };
  const auto shared = std::make_shared<Shared>();
  // Detached: when the daemon hangs, so does this thread, until the process ends.
  std::thread([shared, path] {
    const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    Result<std::string> content = fd < 0 ? fail_errno(path) : read_to_end(fd);
    if (fd >= 0) close(fd);
    MutexLock lock(shared->mutex);
    shared->answer = std::move(content);
    shared->answered.notify_one();
  }).detach();

  const Clock& clock = Clock::system();
  const Nanos end = clock.monotonic() + timeout;
  MutexLock lock(shared->mutex);
  while (!shared->answer) {
    const Nanos left = end - clock.monotonic();
    if (left <= Nanos(0)) return fail(Error(static_cast<Code>(ETIMEDOUT), path));
    shared->answered.wait_for(shared->mutex, left);
  }
  return std::move(*shared->answer);
}

Result<ControlClient> ControlClient::open(const std::string& control_file) {
  const int fd = ::open(control_file.c_str(), O_RDWR | O_CLOEXEC);
  if (fd < 0) return fail_errno(control_file);
  return ControlClient(fd);
}

ControlClient::ControlClient(ControlClient&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}

ControlClient::~ControlClient() {
  if (fd_ >= 0) close(fd_);
}

Result<std::vector<Result<std::string>>> ControlClient::run(std::string_view lines) {
  const auto line_count = static_cast<size_t>(std::ranges::count(lines, '\n'));
  const ssize_t written = write(fd_, lines.data(), lines.size());
  if (written < 0) return fail_errno("writing to the mount's control file");
  if (static_cast<size_t>(written) != lines.size())
    return fail(Code::kIo, "the control file took only a part of the commands");
  TRY_ASSIGN(const std::string reply, read_to_end(fd_));
  std::vector<Result<std::string>> results;
  for (std::string_view rest = reply; !rest.empty();) {
    const size_t end = std::min(rest.find('\n'), rest.size());
    results.push_back(parse_reply(rest.substr(0, end)));
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  if (results.size() != line_count) return fail(Code::kCorrupt, "reply of the mount");
  return results;
}

Result<std::string> ControlClient::run_one(const std::string& line) {
  TRY_ASSIGN(auto results, run(line + "\n"));
  return std::move(results.front());
}

}  // namespace larder::control
