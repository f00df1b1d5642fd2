#include "cache/open_files.h"

#include "cache/cached_file.h"

namespace larder::cache {
namespace {

// Of those asked in turn.  Two for each that is opened: so their number falls; and no more, as
// closing costs whoever opens.
constexpr int kClosedAtOnce = 2;
constexpr int kAskedAtOnce = 8;

}  // namespace

OpenFiles::OpenFiles(DescriptorLimit& limit, Registry& registry)
    : limit_(limit),
      closed_(registry.counter("larder_descriptors_reclaimed_total",
                               "open files closed for a while to open others")) {
  limit_.set_reclaim([this] { reclaim(); });
}

OpenFiles::Position OpenFiles::add(const std::shared_ptr<FileOwner>& owner) {
  const MutexLock lock(mutex_);
  return files_.insert(files_.end(), owner);
}

void OpenFiles::remove(Position position) {
  const MutexLock lock(mutex_);
  files_.erase(position);
}

size_t OpenFiles::count() const {
  const MutexLock lock(mutex_);
  return files_.size();
}

void OpenFiles::reclaim() {
  int closed = 0;
  for (int asked = 0; asked < kAskedAtOnce && closed < kClosedAtOnce; ++asked) {
    std::shared_ptr<FileOwner> owner;
    {
      const MutexLock lock(mutex_);
      if (files_.empty()) return;
      owner = files_.front().lock();  // null: about to go, and to take itself off the list
      files_.splice(files_.end(), files_, files_.begin());
    }
    if (!owner || !owner->file().close_for_now()) continue;
    ++closed;
    closed_.add();
  }
}

}  // namespace larder::cache
