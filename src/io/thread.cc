#include "io/thread.h"

#include <pthread.h>

#include <csignal>
#include <system_error>
#include <utility>

namespace larder::io {

Result<std::thread> start_thread(const std::string& name, std::move_only_function<void()> body) {
  // A new thread inherits the mask: so it is deaf from its first instruction on.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  Result<std::thread> thread;
  try {
    thread = std::thread(std::move(body));
    ::pthread_setname_np(thread->native_handle(), name.substr(0, 15).c_str());
  } catch (const std::system_error& refused) {
    thread = fail(static_cast<Code>(refused.code().value()), "start thread " + name);
  }
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return thread;
}

}  // namespace larder::io
