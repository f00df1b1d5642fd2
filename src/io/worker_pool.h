// WorkerPool: a bounded pool of threads for calls that block.
//
// Threads are started when a job finds no idle one, up to `threads_max`; one that has been idle for
// a while ends.  At most `queue_max` jobs wait.  A job may hang for ever (a source that does not
// answer): stop() gives up on it after its patience and leaves the thread behind, so what such a
// job touches must be owned by the job (shared_ptr), not by who owns the pool.
//
// Thread-safe, but for the destructor.  Jobs may submit jobs; they must not stop or destroy their
// pool.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "base/clock.h"

namespace larder::io {

class WorkerPool {
 public:
  struct Options {
    uint32_t threads_max = 1;
    uint32_t queue_max = 1024;
    std::string name = "worker";                // of the threads; the first 15 characters are shown
    Nanos idle_max = std::chrono::seconds(10);  // a thread without a job for so long ends
  };

  explicit WorkerPool(Options options);
  // Waits for all jobs, unless stop() was called before.
  ~WorkerPool();
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;

  // Jobs start in order of submission.  False, and the job is destroyed unrun, when the queue is
  // full, the pool stops, or no thread could be started at all.
  bool submit(std::move_only_function<void()> job);

  // Takes no more jobs; waits up to `patience` for the running and queued ones.  Then destroys the
  // queued ones unrun and leaves the running ones behind on detached threads.  Idempotent.
  void stop(Nanos patience);

  uint32_t threads() const;
  uint32_t busy() const;    // threads that run a job, the left-behind ones included
  uint32_t queued() const;  // jobs that wait for a thread

 private:
  struct State;
  std::shared_ptr<State> state_;  // shared with the threads, which may outlive the pool
};

}  // namespace larder::io
