// Reactor: one thread that runs the slow path's coroutines and their local I/O.
//
// A coroutine spawned on a reactor stays on it for life: whatever it awaits, it resumes on this
// thread, so state owned by one reactor needs no lock among its coroutines.  Local file I/O goes to
// the reactor's engine: io_uring, or a pool of threads where io_uring is refused; both behave alike
// (tests/unit/io_test.cc runs every test on both).
//
// Bounded: at most `depth_max` operations are in the engine; further ones queue in order.  An idle
// reactor sleeps (no polling, no timer) until there is something to do.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>

#include "base/clock.h"
#include "base/error.h"
#include "base/metrics.h"
#include "io/detached.h"
#include "io/disk.h"
#include "io/task.h"

namespace larder::io {

enum class EngineKind { kAuto, kUring, kThreads };

struct ReactorOptions {
  EngineKind engine = EngineKind::kAuto;  // kAuto: io_uring, or threads when it is refused
  uint32_t depth_max = 256;
  uint32_t threads_max = 16;  // threads engine, and io_uring's bounded workers
  std::string name = "reactor";
};

class Reactor {
 public:
  // kNotSupported when kUring is asked for and the kernel refuses it.  The registry outlives the
  // reactor.
  static Result<std::unique_ptr<Reactor>> start(const ReactorOptions& options, Registry& registry);
  // Stops.
  virtual ~Reactor() = default;

  // Thread-safe.  Runs `job` soon on the reactor's thread, in order of posting.  After stop() the
  // job is destroyed unrun.
  virtual void post(std::move_only_function<void()> job) = 0;
  // Thread-safe.  Runs the coroutine to its end on the reactor's thread; starts in order with
  // posted jobs.  After stop() it is destroyed unstarted.
  void spawn(Task<void> task);
  // Waits until all spawned coroutines have ended (those they spawn as well, and sleeping ones),
  // then ends the thread.  Idempotent, thread-safe; not from the reactor's own thread.
  virtual void stop() = 0;

  // The reactor whose thread this is, or null.
  static Reactor* current();
  EngineKind engine() const { return engine_; }  // never kAuto

  // For coroutines on this reactor.  The buffers must live until the result is there.  Results as
  // those of File's functions of the same names: short operations are completed, errors are
  // returned; kCancelled when the kernel gave the operation up.
  virtual Task<Result<size_t>> read(File& file, std::span<std::byte> into, uint64_t offset) = 0;
  virtual Task<Result<void>> write(File& file, std::span<const std::byte> from,
                                   uint64_t offset) = 0;
  virtual Task<Result<void>> sync_data(File& file) = 0;
  // Those with the same end wake in the order in which they began.
  virtual Task<void> sleep(Nanos duration) = 0;

 protected:
  // On the reactor's thread: a spawned coroutine begins, has ended.
  virtual void coroutine_begun() = 0;
  virtual void coroutine_ended() = 0;

  EngineKind engine_ = EngineKind::kThreads;

 private:
  static detail::Detached run_root(Reactor* reactor, Task<void> task);
};

}  // namespace larder::io
