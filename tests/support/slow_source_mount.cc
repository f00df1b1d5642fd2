#include "support/slow_source_mount.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <thread>

#include "support/slow_source/connection.h"
#include "support/slow_source/control.h"

namespace larder::testing_support {

namespace {

constexpr int kEndMsMax = 10'000;
constexpr std::chrono::seconds kHungMax(60);

}  // namespace

std::string SlowSourceMount::why_unavailable() {
  const int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
  if (fd < 0) return std::string("/dev/fuse: ") + std::strerror(errno);
  close(fd);
  if (geteuid() != 0) return "mounting with allow_other needs root";
  return {};
}

std::string SlowSourceMount::default_program() {
  const char* program = getenv("LARDER_SLOW_SOURCE");
  return program != nullptr ? program : "slow-source";
}

SlowSourceMount::SlowSourceMount(const std::vector<std::string>& settings,
                                 const std::string& program) {
  std::string pattern = std::filesystem::temp_directory_path().string() + "/larder-source-XXXXXX";
  if (mkdtemp(pattern.data()) == nullptr) {
    problem_ = pattern + ": " + std::strerror(errno);
    return;
  }
  home_ = std::filesystem::canonical(pattern).string();
  directory_ = home_ + "/directory";
  mountpoint_ = home_ + "/mount";
  socket_ = home_ + "/control";
  for (const auto& path : {directory_, mountpoint_})
    if (mkdir(path.c_str(), 0755) != 0) problem_ = path + ": " + std::strerror(errno);
  chmod(home_.c_str(), 0755);
  if (problem_.empty()) start(settings, program);
}

void SlowSourceMount::start(const std::vector<std::string>& settings, const std::string& program) {
  std::vector<std::string> words = {program, "--control", socket_};
  words.insert(words.end(), settings.begin(), settings.end());
  words.push_back(directory_);
  words.push_back(mountpoint_);
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);

  int out[2];
  if (pipe2(out, O_CLOEXEC) != 0) {
    problem_ = std::string("pipe: ") + std::strerror(errno);
    return;
  }
  child_ = fork();
  if (child_ == 0) {
    prctl(PR_SET_PDEATHSIG, SIGTERM);  // a test that crashes leaves no mount behind
    dup2(out[1], STDOUT_FILENO);
    execvp(argv[0], argv.data());
    _exit(127);
  }
  close(out[1]);
  // It says "ready" when it is mounted; the end of its output means that it died.
  char byte = 0;
  if (child_ < 0 || read(out[0], &byte, 1) != 1) problem_ = program + " did not start";
  close(out[0]);
}

SlowSourceMount::~SlowSourceMount() {
  if (child_ > 0) {
    slow_source::control_request(socket_, "stop\n");
    if (!wait_for_end(kEndMsMax)) {
      const int connection = slow_source::connection_of(mountpoint_);
      if (connection >= 0) slow_source::abort_connection(connection);
      kill();
    }
  }
  if (home_.empty()) return;
  umount2(mountpoint_.c_str(), MNT_DETACH);  // fails when it is unmounted already
  std::error_code ignored;
  // First the mount point, which only goes while nothing is mounted there: never delete through a
  // mount.
  if (std::filesystem::remove(mountpoint_, ignored)) std::filesystem::remove_all(home_, ignored);
}

bool SlowSourceMount::wait_for_end(int timeout_ms) {
  const int fd = static_cast<int>(syscall(SYS_pidfd_open, child_, 0));
  if (fd < 0) return false;
  pollfd poll_fd{.fd = fd, .events = POLLIN, .revents = 0};
  const bool ended = poll(&poll_fd, 1, timeout_ms) == 1;
  close(fd);
  if (!ended) return false;
  waitpid(child_, nullptr, 0);
  child_ = -1;
  return true;
}

bool SlowSourceMount::set(const std::string& key, const std::string& value) {
  return slow_source::control_request(socket_, key + "=" + value + "\n").empty();
}

uint64_t SlowSourceMount::requests(const std::string& kind) const {
  const std::string counts = "\n" + slow_source::control_request(socket_, "counts\n");
  const std::string start = "\n" + kind + "=";
  const size_t at = counts.find(start);
  if (at == std::string::npos) {
    fprintf(stderr, "slow source: no count of '%s': %s\n", kind.c_str(), counts.c_str());
    abort();
  }
  return strtoull(counts.c_str() + at + start.size(), nullptr, 10);
}

void SlowSourceMount::reset_requests() {
  slow_source::control_request(socket_, "reset\n");
}

bool SlowSourceMount::wait_hung(uint64_t count) const {
  const auto until = std::chrono::steady_clock::now() + kHungMax;
  while (hung() < count) {
    if (std::chrono::steady_clock::now() > until) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));  // between two questions
  }
  return true;
}

void SlowSourceMount::kill() {
  if (child_ <= 0) return;
  ::kill(child_, SIGKILL);
  waitpid(child_, nullptr, 0);
  child_ = -1;
}

}  // namespace larder::testing_support
