#include "control/client.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstring>
#include <nlohmann/json.hpp>
#include <utility>

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

namespace {

// What a child says: its errno, then what it has read.
struct Question {
  std::string path;
  pid_t child = -1;
  int fd = -1;
  bool ended = false;
  std::string said;
};

[[noreturn]] void answer(const std::string& path, int to) {
  // Holds nothing of its parent's that could keep a mount busy.
  if (dup2(to, STDIN_FILENO) >= 0) close_range(STDIN_FILENO + 1, ~0U, 0);
  const auto say = [](const void* data, size_t length) {
    for (auto* at = static_cast<const char*>(data); length > 0;) {
      const ssize_t written = write(STDIN_FILENO, at, length);
      if (written <= 0) _exit(1);
      at += written;
      length -= static_cast<size_t>(written);
    }
  };
  char chunk[65536];
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  ssize_t got = fd < 0 ? -1 : read(fd, chunk, sizeof chunk);
  const int error = got < 0 ? errno : 0;
  say(&error, sizeof error);
  for (; got > 0; got = read(fd, chunk, sizeof chunk)) say(chunk, static_cast<size_t>(got));
  _exit(0);
}

void ask(Question& question) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return;
  question.child = fork();
  if (question.child == 0) answer(question.path, ends[1]);
  close(ends[1]);
  if (question.child > 0)
    question.fd = ends[0];
  else
    close(ends[0]);
}

// Takes what there is to read; at the end the child has done its work.
void listen(Question& question) {
  char chunk[65536];
  const ssize_t got = read(question.fd, chunk, sizeof chunk);
  if (got < 0 && errno == EINTR) return;
  if (got > 0)
    question.said.append(chunk, static_cast<size_t>(got));
  else
    question.ended = true;
}

Result<std::string> conclude(Question& question) {
  if (question.child <= 0)
    return fail(Code::kIo, "cannot start a process to read " + question.path);
  close(question.fd);
  // One that hangs in the kernel cannot even be killed until the mount goes; init reaps it then.
  kill(question.child, SIGKILL);
  waitpid(question.child, nullptr, question.ended ? 0 : WNOHANG);
  int error = 0;
  if (!question.ended) return fail(Error(static_cast<Code>(ETIMEDOUT), question.path));
  if (question.said.size() < sizeof error) return fail(Code::kIo, question.path);
  std::memcpy(&error, question.said.data(), sizeof error);
  if (error != 0) return fail(Error(static_cast<Code>(error), question.path));
  return question.said.substr(sizeof error);
}

}  // namespace

std::vector<Result<std::string>> read_virtual_files(const std::vector<std::string>& paths,
                                                    Nanos timeout) {
  std::vector<Question> questions;
  for (const std::string& path : paths)
    ask(questions.emplace_back(Question{.path = path, .said = {}}));
  const Clock& clock = Clock::system();
  const Nanos end = clock.monotonic() + timeout;
  for (;;) {
    std::vector<pollfd> watched;
    for (const Question& question : questions)  // poll() passes over those with -1
      watched.push_back({question.ended ? -1 : question.fd, POLLIN, 0});
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(end - clock.monotonic());
    const bool all_ended =
        std::ranges::all_of(watched, [](const pollfd& one) { return one.fd < 0; });
    if (all_ended || left.count() <= 0) break;
    if (poll(watched.data(), watched.size(), static_cast<int>(left.count())) < 0)
      continue;  // EINTR
    for (size_t i = 0; i < watched.size(); ++i)
      if (watched[i].revents != 0) listen(questions[i]);
  }
  std::vector<Result<std::string>> answers;
  for (Question& question : questions) answers.push_back(conclude(question));
  return answers;
}

Result<std::string> read_virtual_file(const std::string& path, Nanos timeout) {
  auto answers = read_virtual_files({path}, timeout);
  return std::move(answers.front());
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
