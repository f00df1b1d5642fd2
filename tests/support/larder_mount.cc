#include "support/larder_mount.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <future>
#include <sstream>
#include <thread>

#include "support/slow_source/connection.h"

namespace larder::testing_support {
namespace {

using std::chrono::steady_clock;

// Nothing takes so long unless it hangs.
constexpr std::chrono::seconds kHangsAfter(60);
constexpr int kEndMsMax = 60'000;

}  // namespace

std::string LarderMount::program() {
  const char* program = getenv("LARDER_PROGRAM");
  return program != nullptr ? program : "larder";
}

std::string LarderMount::why_unavailable() {
  const int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
  if (fd < 0) return std::string("/dev/fuse: ") + std::strerror(errno);
  close(fd);
  if (geteuid() != 0) return "mounting the slow source needs root";
  return {};
}

LarderMount::LarderMount(std::string source, std::vector<std::string> options, CommandOptions as)
    : source_(std::move(source)), options_(std::move(options)), as_(std::move(as)) {
  std::string pattern = std::filesystem::temp_directory_path().string() + "/larder-mount-XXXXXX";
  if (mkdtemp(pattern.data()) == nullptr) {
    problem_ = pattern + ": " + std::strerror(errno);
    return;
  }
  home_ = std::filesystem::canonical(pattern).string();
  mountpoint_ = home_ + "/mount";
  cache_dir_ = home_ + "/cache";
  const std::string key = "cache_dir=";
  for (const std::string& option : options_)
    if (option.starts_with(key)) cache_dir_ = option.substr(key.size());
  log_file_ = home_ + "/log";
  for (const auto& path : {mountpoint_, cache_dir_})
    if (mkdir(path.c_str(), 0700) != 0 && errno != EEXIST)
      problem_ = path + ": " + std::strerror(errno);
  chmod(home_.c_str(), 0755);
  if (as_.uid != 0)
    for (const auto& path : {home_, mountpoint_, cache_dir_})
      if (chown(path.c_str(), as_.uid, as_.gid) != 0) problem_ = path + ": chown";
  if (problem_.empty()) start();
}

LarderMount::~LarderMount() {
  if (child_ > 0) {
    ::kill(child_, SIGTERM);
    int status = 0;
    if (!wait_for_exit(child_, kEndMsMax, &status)) {
      abort();
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

bool LarderMount::start() {
  problem_.clear();
  std::vector<std::string> words = {
      program(), "mount", "-f", "-o", "cache_dir=" + cache_dir_, "-o", "log_level=warning"};
  for (const std::string& option : options_) {
    words.push_back("-o");
    words.push_back(option);
  }
  words.push_back(source_);
  words.push_back(mountpoint_);
  child_ = start_command(words, log_file_, as_);
  if (child_ < 0)
    problem_ = "cannot start " + program();
  else
    await_mount();
  return mounted();
}

void LarderMount::await_mount() {
  const auto until = steady_clock::now() + kHangsAfter;
  // Once it is mounted the kernel keeps requests until they are answered.
  while (slow_source::connection_of(mountpoint_) < 0) {
    int status = 0;
    if (waitpid(child_, &status, WNOHANG) == child_) {
      child_ = -1;
      problem_ = "larder ended: " + log();
      return;
    }
    if (steady_clock::now() > until) {
      problem_ = "larder does not mount: " + log();
      return;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(1));  // between two questions
  }
  struct stat root;
  if (as_.uid == 0 && stat(mountpoint_.c_str(), &root) != 0)
    problem_ = std::string("the mount does not answer: ") + std::strerror(errno) + " " + log();
}

std::string LarderMount::log() const {
  std::stringstream text;
  text << std::ifstream(log_file_).rdbuf();
  return text.str();
}

int LarderMount::stop() {
  return stop(SIGTERM);
}

int LarderMount::stop(int signal) {
  if (child_ <= 0) return -1;
  ::kill(child_, signal);
  int status = 0;
  if (!wait_for_exit(child_, kEndMsMax, &status)) {
    std::abort();
    kill();
    return -1;
  }
  child_ = -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

void LarderMount::kill() {
  if (child_ <= 0) return;
  ::kill(child_, SIGKILL);
  waitpid(child_, nullptr, 0);
  child_ = -1;
  umount2(mountpoint_.c_str(), MNT_DETACH);
}

int LarderMount::await_end() {
  int status = 0;
  if (child_ <= 0 || !wait_for_exit(child_, kEndMsMax, &status)) return -1;
  child_ = -1;
  return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

void LarderMount::abort() {
  const int connection = slow_source::connection_of(mountpoint_);
  if (connection >= 0) slow_source::abort_connection(connection);
}

nlohmann::json LarderMount::stats() const {
  std::stringstream text;
  text << std::ifstream(at(".larder/stats.json")).rdbuf();
  return nlohmann::json::parse(text.str(), nullptr, false);
}

int64_t LarderMount::metric(const std::string& pointer) const {
  const nlohmann::json all = stats();
  if (!all.is_object()) return 0;
  const nlohmann::json::json_pointer path("/metrics" + pointer);
  if (!all.contains(path)) {
    fprintf(stderr, "no metric %s\n", pointer.c_str());
    std::abort();
  }
  if (all[path].is_number()) return all[path].get<int64_t>();
  int64_t sum = 0;
  for (const auto& labelled : all[path]) sum += labelled.is_number() ? labelled.get<int64_t>() : 0;
  return sum;
}

bool LarderMount::eventually(const std::function<bool()>& condition) {
  const auto until = steady_clock::now() + kHangsAfter;
  while (!condition()) {
    if (steady_clock::now() > until) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));  // between two questions
  }
  return true;
}

bool LarderMount::completes(const std::function<void()>& action) {
  std::packaged_task<void()> task(action);
  std::future<void> done = task.get_future();
  std::thread thread(std::move(task));
  const bool in_time = done.wait_for(kHangsAfter) == std::future_status::ready;
  if (!in_time) abort();
  thread.join();
  return in_time;
}

}  // namespace larder::testing_support
