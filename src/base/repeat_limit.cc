#include "base/repeat_limit.h"

namespace larder {

std::optional<uint64_t> RepeatLimit::admit(std::string_view name, uint64_t subject) {
  const Nanos now = clock_.monotonic();
  MutexLock lock(mutex_);
  auto at = kinds_.find(name);
  if (at == kinds_.end()) at = kinds_.emplace(name, Kind{now, {}, 0}).first;
  Kind& kind = at->second;
  if (now - kind.began >= options_.interval) {
    kind.began = now;
    kind.subjects.clear();
  }
  if (kind.subjects.size() >= options_.subjects_max || !kind.subjects.insert(subject).second) {
    ++kind.left_out;
    return std::nullopt;
  }
  return std::exchange(kind.left_out, 0);
}

std::vector<std::pair<std::string, uint64_t>> RepeatLimit::take_left_out() {
  std::vector<std::pair<std::string, uint64_t>> left_out;
  MutexLock lock(mutex_);
  for (auto& [name, kind] : kinds_)
    if (kind.left_out != 0) left_out.emplace_back(name, std::exchange(kind.left_out, 0));
  return left_out;
}

}  // namespace larder
