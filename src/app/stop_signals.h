// SIGTERM, SIGINT and SIGHUP, taken by one thread instead of by handlers.
//
// Construct before any other thread starts: the signals are blocked in this thread and in all that
// it starts from then on.
#pragma once

#include <functional>
#include <thread>

#include "base/error.h"

namespace larder::app {

class StopSignals {
 public:
  StopSignals();
  // Ends the thread; the signals stay blocked.
  ~StopSignals();
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;

  // Calls on_stop for every such signal, on a thread of its own.  Once.
  void watch(std::function<void()> on_stop);
  // Once this returns it is not called any more.
  void unwatch();

 private:
  int signal_fd_ = -1;
  int end_fd_ = -1;
  std::thread thread_;
};

}  // namespace larder::app
