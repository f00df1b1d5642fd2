// Closes descriptors of the source without ever blocking who gives them up: close(2) may write data
// out, or hang.  It runs on the workers, or, when they take no more jobs, on one helper thread.
// Thread-safe.
//
// Invariant: while descriptors wait, there is a queued or running job for each, or the helper runs,
// or both.
#pragma once

#include <memory>
#include <vector>

#include "base/mutex.h"
#include "io/worker_pool.h"
#include "source/counted_fd.h"

namespace larder::source {

class Closer : public std::enable_shared_from_this<Closer> {
 public:
  explicit Closer(io::WorkerPool& workers) : workers_(&workers) {}

  void close(CountedFd fd);
  // The workers are about to go: from here on the helper closes what waits and what comes.
  void detach_workers();

 private:
  bool close_one();
  void start_helper();

  Mutex mutex_;
  io::WorkerPool* workers_ GUARDED_BY(mutex_);
  std::vector<CountedFd> waiting_ GUARDED_BY(mutex_);
  bool helper_runs_ GUARDED_BY(mutex_) = false;
};

}  // namespace larder::source
