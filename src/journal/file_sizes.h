// FileSizes: how large each file of a store's directory is, so that the sum costs nothing to ask
// for.
//
// Invariant: total() is the sum of the sizes.  Who makes, renames or removes a file says so at
// once, a file that grows before it does; so the total is never below what is on the disk.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <string>

#include "base/mutex.h"

namespace larder::journal {

// Thread-safe.
class FileSizes {
 public:
  void set(const std::string& name, uint64_t bytes);
  void erase(const std::string& name);
  // `to` is replaced.
  void rename(const std::string& from, const std::string& to);
  uint64_t total_bytes() const { return total_bytes_.load(std::memory_order_relaxed); }

 private:
  uint64_t take(const std::string& name) REQUIRES(mutex_);

  Mutex mutex_;
  std::map<std::string, uint64_t> sizes_ GUARDED_BY(mutex_);
  std::atomic<uint64_t> total_bytes_{0};
};

}  // namespace larder::journal
