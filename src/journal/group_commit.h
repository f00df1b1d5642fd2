// Group commit: of the threads that want the log durable at the same time one syncs for all.
#pragma once

#include <cstdint>

#include "base/metrics.h"
#include "base/mutex.h"
#include "journal/log.h"

namespace larder::journal {

// Thread-safe.
class GroupCommit {
 public:
  GroupCommit(Log& log, Registry& registry);

  // Returns once the log is durable up to `address`.
  Result<void> wait_durable(uint64_t address);

 private:
  Log& log_;
  Counter& syncs_;
  Counter& commits_;
  Mutex mutex_;
  bool has_leader_ GUARDED_BY(mutex_) = false;
  CondVar synced_;
};

}  // namespace larder::journal
