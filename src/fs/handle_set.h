// What the kernel has open of one kind.
//
// A handle's number is its address, so that who has the number needs no look-up; the set is for the
// end: when the mount goes the kernel does not close what is open then.  Thread-safe.
//
// Invariant: a handle is in the set from add() to take(), and is destroyed once.
#pragma once

#include <cstdint>
#include <memory>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/mutex.h"

namespace larder::fs {

template <class Handle>
class HandleSet {
 public:
  // The handle's number.
  uint64_t add(std::unique_ptr<Handle> handle) {
    const auto number = reinterpret_cast<uint64_t>(handle.get());
    MutexLock lock(mutex_);
    handles_.emplace(number, std::move(handle));
    return number;
  }
  // It must be in the set until the call returns.
  static Handle& get(uint64_t number) { return *reinterpret_cast<Handle*>(number); }
  std::unique_ptr<Handle> take(uint64_t number) {
    MutexLock lock(mutex_);
    const auto found = handles_.find(number);
    CHECK(found != handles_.end());
    std::unique_ptr<Handle> handle = std::move(found->second);
    handles_.erase(found);
    return handle;
  }
  std::vector<std::unique_ptr<Handle>> take_all() {
    std::vector<std::unique_ptr<Handle>> all;
    MutexLock lock(mutex_);
    for (auto& [number, handle] : handles_) all.push_back(std::move(handle));
    handles_.clear();
    return all;
  }

 private:
  Mutex mutex_;
  std::unordered_map<uint64_t, std::unique_ptr<Handle>> handles_ GUARDED_BY(mutex_);
};

}  // namespace larder::fs
