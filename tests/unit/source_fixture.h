// What the tests of the source share: a temporary directory, a reactor, and a way to wait for
// tasks.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <future>
#include <memory>
#include <sstream>
#include <string>
#include <thread>

#include "base/check.h"
#include "base/clock.h"
#include "base/failpoint.h"
#include "base/metrics.h"
#include "base/mutex.h"
#include "buffer/pool.h"
#include "io/reactor.h"
#include "source/source.h"

namespace larder::source {

class TempDirectory {
 public:
  TempDirectory() {
    std::string path = (std::filesystem::temp_directory_path() / "larder-source-XXXXXX").string();
    CHECK(::mkdtemp(path.data()) != nullptr);
    path_ = path;
  }
  ~TempDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TempDirectory(const TempDirectory&) = delete;
  TempDirectory& operator=(const TempDirectory&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

inline void write_file(const std::filesystem::path& path, const std::string& text) {
  std::ofstream(path) << text;
}

inline std::string read_file(const std::filesystem::path& path) {
  std::stringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

// Waits for what happens on another thread; the limit only ends a test that has failed.
inline bool eventually(const std::function<bool()>& condition) {
  const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > give_up) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

inline size_t open_descriptors() {
  const std::filesystem::directory_iterator descriptors("/proc/self/fd");
  return static_cast<size_t>(std::distance(begin(descriptors), end(descriptors)));
}

inline int64_t metric(const Registry& registry, const std::string& name,
                      const Labels& labels = {}) {
  for (const Registry::Entry& entry : registry.entries()) {
    if (entry.name != name || entry.labels != labels) continue;
    if (entry.counter != nullptr) return static_cast<int64_t>(entry.counter->value());
    if (entry.gauge != nullptr) return entry.gauge->value();
    if (entry.histogram != nullptr) return static_cast<int64_t>(entry.histogram->count());
    return entry.read();
  }
  ADD_FAILURE() << "no metric " << name;
  return -1;
}

// Calls that hit an armed failpoint wait here until the gate is opened.
class Gate {
 public:
  explicit Gate(std::string failpoint) : failpoint_(std::move(failpoint)) {
    failpoint::arm(failpoint_, [state = state_] { return state->pass(); });
  }
  ~Gate() { open(); }
  Gate(const Gate&) = delete;
  Gate& operator=(const Gate&) = delete;

  void open() {
    failpoint::disarm(failpoint_);
    MutexLock lock(state_->mutex);
    state_->is_open = true;
    state_->changed.notify_all();
  }
  void wait_entered(int count) {
    MutexLock lock(state_->mutex);
    while (state_->entered < count) state_->changed.wait(state_->mutex);
  }
  int entered() {
    MutexLock lock(state_->mutex);
    return state_->entered;
  }

 private:
  struct State {
    Mutex mutex;
    CondVar changed;
    int entered GUARDED_BY(mutex) = 0;
    bool is_open GUARDED_BY(mutex) = false;
    bool pass() {
      MutexLock lock(mutex);
      ++entered;
      changed.notify_all();
      while (!is_open) changed.wait(mutex);
      return false;
    }
  };
  std::string failpoint_;
  std::shared_ptr<State> state_ = std::make_shared<State>();
};

template <class T>
io::Task<void> deliver(io::Task<T> task, std::shared_ptr<std::promise<T>> to) {
  T value = co_await std::move(task);
  to->set_value(std::move(value));
}

class SourceTest : public testing::Test {
 protected:
  SourceTest() : registry_(std::make_unique<Registry>()) {
    io::ReactorOptions options;
    options.engine = io::EngineKind::kThreads;
    auto reactor = io::Reactor::start(options, reactor_registry_);
    CHECK(reactor.has_value());
    reactor_ = std::move(*reactor);
  }
  ~SourceTest() override {
    source_.reset();
    reactor_->stop();
  }

  void open(const SourceOptions& options = {}, const Clock& clock = Clock::system()) {
    auto opened = Source::open(root().string(), options, *registry_, clock);
    ASSERT_TRUE(opened) << opened.error().message();
    source_ = std::move(*opened);
  }
  std::filesystem::path root() const { return directory_.path() / ""; }

  template <class T>
  std::future<T> start(io::Task<T> task) {
    auto promise = std::make_shared<std::promise<T>>();
    std::future<T> future = promise->get_future();
    reactor_->spawn(deliver<T>(std::move(task), std::move(promise)));
    return future;
  }
  template <class T>
  T run(io::Task<T> task) {
    return start(std::move(task)).get();
  }

  // Opens what is on the way, one after the other.
  Result<Place> try_at(const std::string& path) {
    Place place{source_->root(), {}};
    size_t from = 0;
    for (size_t slash = path.find('/'); slash != path.npos; slash = path.find('/', from)) {
      place.name = path.substr(from, slash - from);
      TRY_ASSIGN(place.directory, run(source_->open_directory(place)));
      from = slash + 1;
    }
    place.name = path.substr(from);
    return place;
  }
  Place at(const std::string& path) {
    auto place = try_at(path);
    CHECK_MSG(place.has_value(), path);
    return *place;
  }
  Result<DirectoryPtr> try_directory_at(const std::string& path) {
    if (path.empty()) return source_->root();
    TRY_ASSIGN(Place place, try_at(path));
    return run(source_->open_directory(std::move(place)));
  }
  DirectoryPtr directory_at(const std::string& path) {
    auto directory = try_directory_at(path);
    CHECK_MSG(directory.has_value(), path);
    return *directory;
  }

  static Caller self() { return {::getuid(), ::getgid(), ::getpid(), 022}; }

  TempDirectory directory_;
  Registry reactor_registry_;
  std::unique_ptr<Registry> registry_;
  buffer::Pool buffers_{16 << 20};
  std::unique_ptr<io::Reactor> reactor_;
  std::unique_ptr<Source> source_;
};

inline Code code_of(int error) {
  return static_cast<Code>(error);
}

}  // namespace larder::source
