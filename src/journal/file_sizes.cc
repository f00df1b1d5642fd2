#include "journal/file_sizes.h"

namespace larder::journal {

void FileSizes::set(const std::string& name, uint64_t bytes) {
  const MutexLock lock(mutex_);
  uint64_t& size = sizes_[name];
  total_bytes_ += bytes - size;
  size = bytes;
}

void FileSizes::erase(const std::string& name) {
  const MutexLock lock(mutex_);
  total_bytes_ -= take(name);
}

void FileSizes::rename(const std::string& from, const std::string& to) {
  const MutexLock lock(mutex_);
  // The two are never counted together, nor neither.
  const uint64_t bytes = take(from);
  const uint64_t replaced = take(to);
  sizes_[to] = bytes;
  total_bytes_ -= replaced;
}

// The file's size, which stays in the total.
uint64_t FileSizes::take(const std::string& name) {
  const auto it = sizes_.find(name);
  if (it == sizes_.end()) return 0;
  const uint64_t bytes = it->second;
  sizes_.erase(it);
  return bytes;
}

}  // namespace larder::journal
