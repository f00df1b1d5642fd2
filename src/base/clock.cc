#include "base/clock.h"

namespace larder {
namespace {

class SystemClock final : public Clock {
 public:
  Nanos monotonic() const override { return std::chrono::steady_clock::now().time_since_epoch(); }
  Nanos wall() const override { return std::chrono::system_clock::now().time_since_epoch(); }
};

}  // namespace

const Clock& Clock::system() {
  static const SystemClock clock;
  return clock;
}

}  // namespace larder
