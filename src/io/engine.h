// Engine: what carries out a reactor's local I/O.  Two of them: ring_engine.h and thread_engine.h.
//
// All functions are for the reactor's thread.
#pragma once

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "base/clock.h"
#include "base/error.h"
#include "io/disk.h"

namespace larder::io {

// One operation.  Lives in the frame of the coroutine that awaits it; an engine may use it from
// start() until it reports it.
struct Operation {
  enum class Kind : uint8_t { kRead, kWrite, kSyncData };
  static constexpr size_t kKinds = 3;

  Operation(Kind kind_in, File& file_in, std::byte* data_in, size_t size_in, uint64_t offset_in)
      : kind(kind_in), file(&file_in), data(data_in), size_bytes(size_in), offset(offset_in) {}
  Operation(const Operation&) = delete;
  Operation& operator=(const Operation&) = delete;

  Kind kind;
  File* file;
  std::byte* data;  // not written to by kWrite
  size_t size_bytes;
  uint64_t offset;

  size_t done_bytes = 0;       // the engine's progress
  Result<size_t> outcome = 0;  // bytes read or written
  Nanos started{};
  std::coroutine_handle<> waiter;
  Operation* next = nullptr;  // in the reactor's queue
};

// Where an engine reports; the reactor.
class OperationSink {
 public:
  // op.outcome is set.  May start other operations.
  virtual void completed(Operation& op) = 0;

 protected:
  ~OperationSink() = default;
};

class Engine {
 public:
  // Nothing may be in flight.
  virtual ~Engine() = default;

  // The engine reports the operation later, never before start() has returned.
  virtual void start(Operation& op) = 0;
  // Hands what was started to the system, sleeps until an operation is done, a job is in the inbox,
  // or `timeout` has passed (nullopt: without limit; zero: does not sleep), and reports what is
  // done.
  virtual void turn(std::optional<Nanos> timeout) = 0;
};

}  // namespace larder::io
