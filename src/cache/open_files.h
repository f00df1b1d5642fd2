// The files whose descriptors can be closed and opened again, so that there is a limit to them.
//
// Invariants
//   - A file is listed exactly while it has a descriptor open.
//   - The order is that of opening; one that could not be closed when its turn came goes to the
//   end.
//
// Thread-safe.  add() and remove() may be called with a file's lock; reclaim() takes files' locks.
#pragma once

#include <cstddef>
#include <list>
#include <memory>

#include "base/descriptor_limit.h"
#include "base/metrics.h"
#include "base/mutex.h"

namespace larder::cache {

class FileOwner;

class OpenFiles {
 public:
  using Position = std::list<std::weak_ptr<FileOwner>>::iterator;

  // Becomes what the limit closes files with; the limit is not used after this is gone.
  OpenFiles(DescriptorLimit& limit, Registry& registry);

  Position add(const std::shared_ptr<FileOwner>& owner);
  void remove(Position position);
  // Whether one more may be kept open for as long as a program likes.
  bool may_hold() const { return limit_.may_hold(); }
  size_t count() const;

 private:
  void reclaim();

  DescriptorLimit& limit_;
  mutable Mutex mutex_;
  std::list<std::weak_ptr<FileOwner>> files_ GUARDED_BY(mutex_);
  Counter& closed_;
};

}  // namespace larder::cache
