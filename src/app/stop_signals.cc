#include "app/stop_signals.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <csignal>

#include "base/check.h"
#include "base/log.h"

namespace larder::app {

StopSignals::StopSignals() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGHUP);
  CHECK(pthread_sigmask(SIG_BLOCK, &set, nullptr) == 0);
  // Writing to a pipe or socket that is gone is an error like any other.
  std::signal(SIGPIPE, SIG_IGN);
  signal_fd_ = signalfd(-1, &set, SFD_CLOEXEC);
  end_fd_ = eventfd(0, EFD_CLOEXEC);
  CHECK(signal_fd_ >= 0 && end_fd_ >= 0);
}

StopSignals::~StopSignals() {
  unwatch();
  close(signal_fd_);
  close(end_fd_);
}

void StopSignals::unwatch() {
  if (!thread_.joinable()) return;
  const uint64_t one = 1;
  CHECK(write(end_fd_, &one, sizeof one) == sizeof one);
  thread_.join();
}

void StopSignals::watch(std::function<void()> on_stop) {
  CHECK(!thread_.joinable());
  thread_ = std::thread([this, on_stop = std::move(on_stop)] {
    pollfd watched[2] = {{signal_fd_, POLLIN, 0}, {end_fd_, POLLIN, 0}};
    while (true) {
      if (poll(watched, 2, -1) < 0) continue;  // EINTR
      if (watched[1].revents != 0) return;
      signalfd_siginfo info;
      if (read(signal_fd_, &info, sizeof info) != sizeof info) continue;
      log::info("signal {}: unmounting", info.ssi_signo);
      on_stop();
    }
  });
}

}  // namespace larder::app
