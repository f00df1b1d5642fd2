#include "cache/mapped_objects.h"

#include <algorithm>
#include <iterator>

namespace larder::cache {

MappedObjects::MappedObjects(const OpenFiles& open_files, Registry& registry, const Clock& clock)
    : open_files_(open_files), clock_(clock) {
  registry.gauge_callback("larder_mapped_objects",
                          "Removed objects that a program still has mapped or open.",
                          [this] { return static_cast<int64_t>(count()); });
}

void MappedObjects::keep(std::shared_ptr<io::File> file) {
  if (const auto used = file->is_used_elsewhere(); !used || !*used) return;
  {
    const MutexLock lock(mutex_);
    if (files_.size() == kMax || !open_files_.may_hold()) return;
    files_.push_back(std::move(file));
    count_ = files_.size();
    look_at_ = clock_.monotonic() + kFirstPause;
    pause_ = 2 * kFirstPause;
  }
  if (wake_) wake_();
}

NextStep MappedObjects::step() {
  std::vector<std::shared_ptr<io::File>> unused;  // closed after the lock
  const MutexLock lock(mutex_);
  // Where nobody tells any more, nobody will: an error ends it, too.
  const auto end = std::partition(files_.begin(), files_.end(), [](const auto& file) {
    return file->is_used_elsewhere().value_or(false);
  });
  std::move(end, files_.end(), std::back_inserter(unused));
  files_.erase(end, files_.end());
  count_ = files_.size();
  if (files_.empty()) return kWhenPoked;
  // Looks that were asked for do not count.
  if (const Nanos now = clock_.monotonic(); now >= look_at_) {
    look_at_ = now + pause_;
    pause_ = std::min(2 * pause_, kLongestPause);
  }
  return look_at_;
}

}  // namespace larder::cache
