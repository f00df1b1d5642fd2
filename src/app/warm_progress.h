#pragma once

#include <string>

#include "base/clock.h"
#include "control/warm.h"

namespace larder::app {

// One line on stderr, written over and over; silent when stderr is not a terminal.
class WarmProgress {
 public:
  explicit WarmProgress(const Clock& clock);
  ~WarmProgress();  // clears the line
  WarmProgress(const WarmProgress&) = delete;
  WarmProgress& operator=(const WarmProgress&) = delete;
  void show(const control::WarmStatus& status);

 private:
  const Clock& clock_;
  const Nanos start_;
  const bool on_terminal_;
};

// "12 files, 3.4 MiB loaded, 1 missing, 2 failed"
std::string warm_summary(const control::WarmStatus& status);

// The same while it goes on, with the rate since the start.
std::string warm_progress_line(const control::WarmStatus& status, Nanos elapsed);

}  // namespace larder::app
