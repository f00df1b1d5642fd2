// The engine of threads that block: for systems that refuse io_uring, and for files without a
// descriptor (a simulated disk) everywhere.
#pragma once

#include "io/engine.h"
#include "io/inbox.h"
#include "io/worker_pool.h"

namespace larder::io {

class ThreadEngine final : public Engine {
 public:
  // options.queue_max bounds what the caller has started at a time.  Threads start when needed.
  ThreadEngine(OperationSink& sink, Inbox& inbox, WorkerPool::Options options);

  void start(Operation& op) override;
  void turn(std::optional<Nanos> timeout) override;

 private:
  void report(Operation& op);

  OperationSink& sink_;
  Inbox& inbox_;
  WorkerPool pool_;
};

}  // namespace larder::io
