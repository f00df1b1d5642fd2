#include "app/interrupt.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>

#include "base/check.h"

namespace larder::app {
namespace {

constexpr std::array kSignals = {SIGINT, SIGTERM, SIGHUP};
int requested_fd = -1;  // an eventfd; a handler can reach nothing else

void on_signal(int /*number*/) {
  const int saved = errno;
  for (const int next : kSignals) {  // whichever comes next ends the process
    struct sigaction now{};
    if (sigaction(next, nullptr, &now) == 0 && now.sa_handler == on_signal) signal(next, SIG_DFL);
  }
  const uint64_t one = 1;
  if (write(requested_fd, &one, sizeof one) != sizeof one) _exit(1);
  errno = saved;
}

sighandler_t handler_of(int signal) {
  struct sigaction action{};
  CHECK(sigaction(signal, nullptr, &action) == 0);
  return action.sa_handler;
}

}  // namespace

Interrupt::Interrupt() {
  CHECK(requested_fd < 0);
  requested_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  CHECK(requested_fd >= 0);
  struct sigaction action{};
  action.sa_handler = on_signal;
  action.sa_flags = static_cast<int>(SA_RESETHAND);
  for (const int signal : kSignals) {
    if (signal == SIGHUP && handler_of(signal) == SIG_IGN) continue;  // nohup(1)
    CHECK(sigaction(signal, &action, nullptr) == 0);
  }
}

Interrupt::~Interrupt() {
  for (const int signal : kSignals)
    if (handler_of(signal) == on_signal) std::signal(signal, SIG_DFL);
  close(requested_fd);
  requested_fd = -1;
}

bool Interrupt::wait_for(Nanos timeout) const {
  const Clock& clock = Clock::system();
  const Nanos end = clock.monotonic() + timeout;
  for (;;) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(end - clock.monotonic());
    pollfd watched{requested_fd, POLLIN, 0};
    const int ready = poll(&watched, 1, static_cast<int>(std::max<int64_t>(0, left.count())));
    if (ready > 0) return true;
    if (ready == 0) return false;
    CHECK(errno == EINTR);
  }
}

}  // namespace larder::app
