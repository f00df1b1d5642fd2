#include "support/fuse_mount.h"

#include <stdlib.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace larder::testing {

std::string FuseMount::missing() {
  if (::access("/dev/fuse", R_OK | W_OK) != 0) return "/dev/fuse cannot be opened";
  if (::geteuid() != 0) return "not root";
  return {};
}

FuseMount::FuseMount(const fs::VirtualDirectory* virtual_directory, fuse::SessionOptions options,
                     size_t pool_bytes)
    : pool_(std::make_unique<buffer::Pool>(pool_bytes)) {
  std::string name = std::filesystem::temp_directory_path() / "larder-fuse-XXXXXX";
  CHECK(::mkdtemp(name.data()) != nullptr);
  directory_ = std::filesystem::canonical(name);
  mountpoint_ = directory_ + "/mount";
  std::filesystem::create_directory(mountpoint_);
  auto reactor = io::Reactor::start({.engine = io::EngineKind::kThreads}, registry_);
  CHECK(reactor.has_value());
  reactor_ = std::move(*reactor);
  files_ = std::make_unique<FakeFileSystem>(*reactor_);
  options.source_name = "a,source\\with odd characters";
  options.mountpoint = mountpoint_;
  auto session =
      fuse::Session::mount(options, *files_, virtual_directory, *pool_, registry_, Clock::system());
  CHECK_MSG(session.has_value(), session.error().message());
  session_ = std::move(*session);
  server_ = std::thread([this] {
    const auto result = session_->serve();
    CHECK_MSG(result.has_value(), result.error().message());
    served_.store(true);
    served_.notify_all();
  });
}

FuseMount::~FuseMount() {
  end();
  reactor_->stop();
  std::error_code ignored;
  std::filesystem::remove_all(directory_, ignored);
}

bool FuseMount::in_mount_table() const {
  std::ifstream table("/proc/self/mountinfo");
  for (std::string line; std::getline(table, line);)
    if (line.find(" " + mountpoint_ + " ") != std::string::npos) return true;
  return false;
}

void FuseMount::wait_served() {
  served_.wait(false);
}

void FuseMount::end() {
  files_->go_on();
  session_ ? session_->stop() : void();
  if (server_.joinable()) server_.join();
  session_.reset();
}

bool eventually(const std::function<bool()>& condition) {
  const auto give_up = std::chrono::steady_clock::now() + std::chrono::minutes(1);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > give_up) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

}  // namespace larder::testing
