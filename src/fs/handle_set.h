// What the kernel has open of one kind.
//
// A handle's number is its address, so that who has the number needs no look-up; the set is for the
// end: when the mount goes the kernel does not close what is open then.  Thread-safe.
//
// Invariant: a handle is in the set from add() to take(), at its `place`.
#pragma once

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/mutex.h"

namespace larder::fs {

// A Handle has a `size_t place`, which is the set's.
template <class Handle>
class HandleSet {
 public:
  // The handle's number.
  uint64_t add(std::unique_ptr<Handle> handle) {
    const auto number = reinterpret_cast<uint64_t>(handle.get());
    MutexLock lock(mutex_);
    handle->place = handles_.size();
    handles_.push_back(std::move(handle));
    return number;
  }
  // It must be in the set until the call returns.
  static Handle& get(uint64_t number) { return *reinterpret_cast<Handle*>(number); }
  std::unique_ptr<Handle> take(uint64_t number) {
    MutexLock lock(mutex_);
    const size_t place = get(number).place;
    CHECK(place < handles_.size() && handles_[place].get() == &get(number));
    std::unique_ptr<Handle> handle = std::exchange(handles_[place], std::move(handles_.back()));
    handles_.pop_back();
    if (place < handles_.size()) handles_[place]->place = place;
    return handle;
  }
  std::vector<std::unique_ptr<Handle>> take_all() {
    MutexLock lock(mutex_);
    return std::exchange(handles_, {});
  }

 private:
  Mutex mutex_;
  std::vector<std::unique_ptr<Handle>> handles_ GUARDED_BY(mutex_);
};

}  // namespace larder::fs
