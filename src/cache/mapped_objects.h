// MappedObjects: objects that were removed while the kernel may read them, and take room on the
// disk until it does so no more.
//
// An object that is open in passthrough may be mapped, and the mapping outlives the descriptor; the
// disk alone knows when it ends (io::File::is_used_elsewhere).  So the file is kept open here, and
// with it its ObjectRoom, and looked at again: after a second, then less and less often, and when
// room is wanted.
//
// Each costs a descriptor; beyond kMax, or where the descriptors run short, the room of one counts
// only until larder itself has closed it.
//
// Thread-safe.  step() is the janitor's.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <vector>

#include "base/clock.h"
#include "base/metrics.h"
#include "base/mutex.h"
#include "cache/janitor.h"
#include "cache/open_files.h"
#include "io/disk.h"

namespace larder::cache {

class MappedObjects {
 public:
  static constexpr size_t kMax = 256;
  static constexpr Nanos kFirstPause = std::chrono::seconds(1);
  static constexpr Nanos kLongestPause = std::chrono::minutes(1);

  MappedObjects(const OpenFiles& open_files, Registry& registry, const Clock& clock);

  // Called when there is something to look at; with no lock that a step of the janitor takes.
  // Before the first keep().
  void set_wake(std::function<void()> wake) { wake_ = std::move(wake); }
  // The file, which holds its room, is about to be removed, or was: it is kept if it is in use.
  void keep(std::shared_ptr<io::File> file);
  // Lets go of what is used no more.
  NextStep step();
  size_t count() const { return count_.load(std::memory_order_relaxed); }

 private:
  const OpenFiles& open_files_;
  const Clock& clock_;
  std::function<void()> wake_;
  mutable Mutex mutex_;
  std::vector<std::shared_ptr<io::File>> files_ GUARDED_BY(mutex_);
  std::atomic<size_t> count_{0};  // of files_
  Nanos look_at_ GUARDED_BY(mutex_){0};
  Nanos pause_ GUARDED_BY(mutex_) = kFirstPause;  // after that
};

}  // namespace larder::cache
