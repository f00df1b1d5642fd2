// FakeKernel: what fs/ asks of the kernel, noted down.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/mutex.h"
#include "fs/kernel_port.h"

namespace larder::testing {

// Thread-safe.
class FakeKernel final : public fs::KernelPort {
 public:
  void set_passthrough(bool available) {
    MutexLock lock(mutex_);
    passthrough_ = available;
  }
  // How many files are known to the kernel for passthrough now.
  size_t backings() const {
    MutexLock lock(mutex_);
    return backings_.size();
  }
  // The descriptor of such a file.
  int backing(int32_t backing_id) const {
    MutexLock lock(mutex_);
    return backings_.at(backing_id);
  }
  // What was invalidated since the last call.
  std::vector<fs::KernelId> take_invalidated_nodes() {
    MutexLock lock(mutex_);
    return std::exchange(nodes_, {});
  }
  std::vector<std::pair<fs::KernelId, std::string>> take_expired_entries() {
    MutexLock lock(mutex_);
    return std::exchange(entries_, {});
  }
  // How often all entries were expired since the last call.
  int take_expirations_of_all() {
    MutexLock lock(mutex_);
    return std::exchange(all_entries_, 0);
  }

  // fs::KernelPort
  bool passthrough_available() const override {
    MutexLock lock(mutex_);
    return passthrough_;
  }
  Result<int32_t> open_backing(int fd) override {
    CHECK(fd >= 0);
    MutexLock lock(mutex_);
    backings_[++last_backing_] = fd;
    return last_backing_;
  }
  void close_backing(int32_t backing_id) override {
    MutexLock lock(mutex_);
    CHECK(backings_.erase(backing_id) == 1);
  }
  void invalidate_node(fs::KernelId node, std::function<void()> then) override {
    {
      MutexLock lock(mutex_);
      nodes_.push_back(node);
      if (then && holds_pages_) waiting_.push_back(std::exchange(then, {}));
    }
    if (then) then();
  }
  // Pages go when they are let go.
  void hold_pages() {
    MutexLock lock(mutex_);
    holds_pages_ = true;
  }
  void let_pages_go() {
    std::vector<std::function<void()>> waiting;
    {
      MutexLock lock(mutex_);
      holds_pages_ = false;
      waiting.swap(waiting_);
    }
    for (const auto& then : waiting) then();
  }
  void invalidate_attributes(fs::KernelId) override {}  // it caches none
  void expire_entry(fs::KernelId parent, std::string name) override {
    MutexLock lock(mutex_);
    entries_.emplace_back(parent, std::move(name));
  }
  void expire_all_entries() override {
    MutexLock lock(mutex_);
    ++all_entries_;
  }

 private:
  mutable Mutex mutex_;
  bool passthrough_ GUARDED_BY(mutex_) = false;
  int32_t last_backing_ GUARDED_BY(mutex_) = 0;
  std::map<int32_t, int> backings_ GUARDED_BY(mutex_);
  std::vector<fs::KernelId> nodes_ GUARDED_BY(mutex_);
  bool holds_pages_ GUARDED_BY(mutex_) = false;
  std::vector<std::function<void()>> waiting_ GUARDED_BY(mutex_);
  std::vector<std::pair<fs::KernelId, std::string>> entries_ GUARDED_BY(mutex_);
  int all_entries_ GUARDED_BY(mutex_) = 0;
};

}  // namespace larder::testing
