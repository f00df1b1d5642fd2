// A reactor on either engine, and a disk in a temporary directory.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <future>
#include <memory>
#include <string>

#include "base/sanitizer.h"
#include "io/completion.h"
#include "io/posix_disk.h"
#include "io/reactor.h"

namespace larder::io {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

// Sanitizers slow everything down.
inline constexpr int kMany = kIsSanitized ? 2'000 : 20'000;

inline Task<void> call_after(Task<void> task, std::promise<void>* done) {
  co_await std::move(task);
  done->set_value();
}

class ReactorTest : public testing::TestWithParam<EngineKind> {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "io_XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    root_ = pattern;
    disk_ = std::move(*open_posix_disk(root_.string()));
    reactor_ = start();
  }
  void TearDown() override {
    reactor_.reset();
    fs::remove_all(root_);
  }

  ReactorOptions options() const {
    return {.engine = GetParam(), .depth_max = 64, .threads_max = 4, .name = "test"};
  }
  std::unique_ptr<Reactor> start() { return start(options()); }
  std::unique_ptr<Reactor> start(const ReactorOptions& options) {
    auto reactor = Reactor::start(options, registry_);
    EXPECT_TRUE(reactor) << reactor.error().message();
    EXPECT_EQ((*reactor)->engine(), options.engine);
    return std::move(*reactor);
  }
  std::unique_ptr<File> create(const std::string& name) {
    return std::move(*disk_->open(name, OpenMode::kCreateNew));
  }
  // Runs the task on the reactor and waits for its end.
  static void run(Reactor& reactor, Task<void> task) {
    std::promise<void> done;
    reactor.spawn(call_after(std::move(task), &done));
    done.get_future().wait();
  }
  void run(Task<void> task) { run(*reactor_, std::move(task)); }

  fs::path root_;
  std::unique_ptr<Disk> disk_;
  Registry registry_;
  std::unique_ptr<Reactor> reactor_;
};

inline Task<void> sum_completion(Completion<int> completion, int* sum) {
  *sum += co_await completion;
}

}  // namespace larder::io
