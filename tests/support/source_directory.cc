#include "support/source_directory.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

#include "support/command.h"
#include "support/slow_source/connection.h"

namespace larder::testing_support {
namespace {

using std::chrono::steady_clock;

// Nothing takes so long unless it hangs.
constexpr std::chrono::seconds kHangsAfter(60);
constexpr int kEndMsMax = 10'000;

std::string reason(const std::string& what) {
  return what + ": " + std::strerror(errno);
}

// Where the distributions have it.
std::string sftp_server() {
  for (const char* path :
       {"/usr/lib/openssh/sftp-server", "/usr/libexec/openssh/sftp-server",
        "/usr/lib/ssh/sftp-server", "/usr/libexec/sftp-server", "/usr/lib/sftp-server"})
    if (access(path, X_OK) == 0) return path;
  return {};
}

bool is_program(const std::string& name) {
  std::stringstream path(getenv("PATH") != nullptr ? getenv("PATH") : "/usr/bin:/bin");
  for (std::string directory; std::getline(path, directory, ':');)
    if (access((directory + "/" + name).c_str(), X_OK) == 0) return true;
  return false;
}

// Empty, or why the program cannot show a file system to all users.
std::string why_no_fuse_program(const std::string& name) {
  if (geteuid() != 0) return name + " for all users needs root";
  const int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
  if (fd < 0) return reason("/dev/fuse");
  close(fd);
  return is_program(name) ? std::string() : name + " is not installed";
}

}  // namespace

const char* name_of(SourceKind kind) {
  static constexpr std::array<const char*, 4> kNames = {"disk", "tmpfs", "sshfs", "mergerfs"};
  return kNames.at(static_cast<size_t>(kind));
}

SourceDirectory::SourceDirectory() {
  std::string pattern = std::filesystem::temp_directory_path().string() + "/larder-source-XXXXXX";
  if (mkdtemp(pattern.data()) == nullptr) {
    problem_ = reason(pattern);
    return;
  }
  home_ = std::filesystem::canonical(pattern).string();
  chmod(home_.c_str(), 0755);
  directory_ = home_ + "/directory";
  behind_ = directory_;
  if (mkdir(directory_.c_str(), 0755) != 0) problem_ = reason(directory_);
}

SourceDirectory::~SourceDirectory() {
  if (home_.empty()) return;
  std::error_code ignored;
  std::filesystem::remove_all(home_, ignored);
}

DiskDirectory::DiskDirectory() = default;

std::string TmpfsDirectory::why_unavailable() {
  return geteuid() == 0 ? std::string() : "mounting a tmpfs needs root";
}

TmpfsDirectory::TmpfsDirectory(const std::string& size) {
  const std::string options = "mode=755,size=" + size;
  if (ready() && ::mount("larder-test", directory_.c_str(), "tmpfs", 0, options.c_str()) != 0)
    problem_ = reason("tmpfs on " + directory_);
}

TmpfsDirectory::~TmpfsDirectory() {
  // Lazily, as a daemon that hangs may hold it still; it goes with its last user.
  umount2(directory_.c_str(), MNT_DETACH);
}

void FuseDirectory::start(const std::vector<std::string>& words) {
  // A test that crashes leaves no mount behind: on SIGTERM these unmount.
  child_ = start_command(words, home_ + "/log", {.death_signal = SIGTERM});
  if (child_ < 0) problem_ = "cannot start " + words.front();
  const auto until = steady_clock::now() + kHangsAfter;
  while (ready() && slow_source::connection_of(directory_) < 0) {
    int status = 0;
    if (waitpid(child_, &status, WNOHANG) == child_) {
      child_ = -1;
      problem_ = words.front() + " ended: " + log();
    } else if (steady_clock::now() > until) {
      problem_ = words.front() + " does not mount: " + log();
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(1));  // between two questions
  }
}

FuseDirectory::~FuseDirectory() {
  const int connection = slow_source::connection_of(directory_);
  int status = 0;
  umount2(directory_.c_str(), MNT_DETACH);
  if (child_ > 0 && !wait_for_exit(child_, kEndMsMax, &status)) {
    if (connection >= 0) slow_source::abort_connection(connection);
    kill(child_, SIGKILL);
    waitpid(child_, nullptr, 0);
  }
  std::error_code ignored;
  // Never delete through a mount: this only goes while nothing is mounted there.
  if (!std::filesystem::remove(directory_, ignored)) home_.clear();
}

std::string FuseDirectory::log() const {
  std::stringstream text;
  text << std::ifstream(home_ + "/log").rdbuf();
  return text.str();
}

std::string SshfsDirectory::why_unavailable() {
  if (const std::string why = why_no_fuse_program("sshfs"); !why.empty()) return why;
  return sftp_server().empty() ? "there is no sftp-server (openssh-sftp-server)" : std::string();
}

const std::vector<std::string>& SshfsDirectory::no_memory() {
  static const std::vector<std::string> options = {"dir_cache=no", "attr_timeout=0",
                                                   "entry_timeout=0"};
  return options;
}

SshfsDirectory::SshfsDirectory(const std::string& server, const std::vector<std::string>& options) {
  if (!ready()) return;
  behind_ = server.empty() ? home_ + "/server" : server;
  if (server.empty() && mkdir(behind_.c_str(), 0755) != 0) {
    problem_ = reason(behind_);
    return;
  }
  // sshfs speaks with whatever its ssh_command is, and gives it arguments that are for ssh.
  const std::string wrapper = home_ + "/ssh";
  std::ofstream(wrapper) << "#!/bin/sh\nexec " << sftp_server() << "\n";
  chmod(wrapper.c_str(), 0755);
  std::vector<std::string> words = {"sshfs", "-f",         "-o", "ssh_command=" + wrapper,
                                    "-o",    "allow_other"};
  for (const std::string& option : options) {
    words.push_back("-o");
    words.push_back(option);
  }
  words.push_back("x:" + behind_);
  words.push_back(directory_);
  start(words);
}

std::string MergerfsDirectory::why_unavailable() {
  return why_no_fuse_program("mergerfs");
}

MergerfsDirectory::MergerfsDirectory() {
  if (!ready()) return;
  behind_ = home_ + "/second";
  for (const std::string& branch : {first(), behind_})
    if (mkdir(branch.c_str(), 0755) != 0) problem_ = reason(branch);
  if (ready())
    start({"mergerfs", "-f", "-o", "allow_other,cache.attr=0,cache.entry=0,cache.negative_entry=0",
           first() + ":" + behind_, directory_});
}

std::string why_unavailable(SourceKind kind) {
  if (kind == SourceKind::kTmpfs) return TmpfsDirectory::why_unavailable();
  if (kind == SourceKind::kSshfs) return SshfsDirectory::why_unavailable();
  return kind == SourceKind::kMergerfs ? MergerfsDirectory::why_unavailable() : std::string();
}

std::unique_ptr<SourceDirectory> make_source_directory(SourceKind kind) {
  if (kind == SourceKind::kTmpfs) return std::make_unique<TmpfsDirectory>();
  if (kind == SourceKind::kSshfs) return std::make_unique<SshfsDirectory>();
  if (kind == SourceKind::kMergerfs) return std::make_unique<MergerfsDirectory>();
  return std::make_unique<DiskDirectory>();
}

}  // namespace larder::testing_support
