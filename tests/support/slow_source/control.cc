#include "control.h"

#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <optional>

namespace larder::slow_source {

namespace {

std::optional<sockaddr_un> address_of(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) return std::nullopt;
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  return address;
}

int listen_at(const std::string& path) {
  const auto address = address_of(path);
  if (!address) return -1;
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return -1;
  unlink(path.c_str());
  if (bind(fd, reinterpret_cast<const sockaddr*>(&*address), sizeof *address) == 0 &&
      listen(fd, 16) == 0)
    return fd;
  close(fd);
  return -1;
}

std::string receive_all(int fd) {
  std::string text;
  char part[4096];
  for (;;) {
    const ssize_t length = recv(fd, part, sizeof part, 0);
    if (length < 0 && errno == EINTR) continue;
    if (length <= 0) return text;
    text.append(part, static_cast<size_t>(length));
  }
}

bool send_all(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t length = send(fd, text.data(), text.size(), MSG_NOSIGNAL);
    if (length < 0 && errno == EINTR) continue;
    if (length <= 0) return false;
    text.remove_prefix(static_cast<size_t>(length));
  }
  return true;
}

}  // namespace

std::string control_request(const std::string& socket_path, std::string_view lines) {
  const auto address = address_of(socket_path);
  if (!address) return "error: the socket's path is too long\n";
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  std::string reply;
  if (fd < 0 || connect(fd, reinterpret_cast<const sockaddr*>(&*address), sizeof *address) != 0 ||
      !send_all(fd, lines) || shutdown(fd, SHUT_WR) != 0) {
    reply = fmt::format("error: {}: {}\n", socket_path, std::strerror(errno));
  } else {
    reply = receive_all(fd);
  }
  if (fd >= 0) close(fd);
  return reply;
}

ControlServer::ControlServer(std::string socket_path, Faults& faults, std::function<void()> stop)
    : socket_path_(std::move(socket_path)),
      faults_(faults),
      stop_(std::move(stop)),
      listen_fd_(listen_at(socket_path_)) {
  if (listening()) thread_ = std::jthread([this] { serve(); });
}

ControlServer::~ControlServer() {
  if (!listening()) return;
  shutdown(listen_fd_, SHUT_RDWR);  // ends accept
  thread_.join();
  close(listen_fd_);
  unlink(socket_path_.c_str());
}

void ControlServer::serve() {
  for (;;) {
    const int client = accept4(listen_fd_, nullptr, nullptr, SOCK_CLOEXEC);
    if (client < 0 && (errno == EINTR || errno == ECONNABORTED)) continue;
    if (client < 0) return;
    const std::string lines = receive_all(client);
    std::string reply;
    for (std::string_view rest = lines; !rest.empty();) {
      const size_t end = rest.find('\n');
      if (const auto line = rest.substr(0, end); !line.empty()) reply += carry_out(line);
      rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
    }
    send_all(client, reply);  // a client that went away misses it
    close(client);
    if (stop_asked_) stop_();
    stop_asked_ = false;
  }
}

std::string ControlServer::carry_out(std::string_view line) {
  if (line == "counts") return faults_.counts();
  if (line == "reset") {
    faults_.reset_counts();
    return {};
  }
  if (line == "stop") {
    stop_asked_ = true;
    return {};
  }
  const size_t equals = line.find('=');
  const std::string wrong = equals == std::string_view::npos
                                ? fmt::format("'{}' is no command", line)
                                : faults_.set(line.substr(0, equals), line.substr(equals + 1));
  return wrong.empty() ? std::string() : fmt::format("error: {}\n", wrong);
}

}  // namespace larder::slow_source
