// Ctrl-C and the like as a request to come to an end, for commands that go on until told to stop.
#pragma once

#include "base/clock.h"

namespace larder::app {

// The first SIGINT, SIGTERM or SIGHUP is a request, and lets system calls return with EINTR; the
// next one ends the process, should it hang.  SIGHUP stays ignored where it was.  At most one of
// these at a time; not thread-safe.
class Interrupt {
 public:
  Interrupt();
  ~Interrupt();
  Interrupt(const Interrupt&) = delete;
  Interrupt& operator=(const Interrupt&) = delete;

  // Waits for a request so long; whether there was one by then.
  bool wait_for(Nanos timeout) const;
};

}  // namespace larder::app
