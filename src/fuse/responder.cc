// Invariants:
//   - `answered` goes from false to true once; who changes it owns the request and replies;
//   - the interrupt function is taken away from libfuse before the reply, which waits for one that
//     is running, so `Shared` outlives it;
//   - the interrupt function never replies itself: libfuse may call it from within
//     fuse_req_interrupt_func(), which still uses the request afterwards.
#include "fuse/responder.h"

#include <fstream>
#include <string>

#include "base/limited_log.h"
#include "fuse/errno_map.h"

namespace larder::fuse {
namespace {

constexpr Nanos kLookAtCallerEvery = std::chrono::milliseconds(200);

// Whether the thread is being killed: then the kernel has put SIGKILL among its pending signals,
// also for another deadly signal.  True when it cannot be known (another pid namespace, already
// gone).
bool being_killed(pid_t thread) {
  std::ifstream status("/proc/" + std::to_string(thread) + "/status");
  if (thread == 0 || !status) return true;
  constexpr uint64_t kKillBit = 1ULL << (9 - 1);
  for (std::string line; std::getline(status, line);) {
    if (!line.starts_with("SigPnd:") && !line.starts_with("ShdPnd:")) continue;
    if ((std::stoull(line.substr(line.find(':') + 1), nullptr, 16) & kKillBit) != 0) return true;
  }
  return false;
}

}  // namespace

struct Responder::Shared : std::enable_shared_from_this<Shared> {
  fuse_req_t request = nullptr;
  io::Reactor* home = nullptr;
  pid_t caller = 0;
  std::atomic<bool> answered{false};
  std::move_only_function<void()> action;

  fuse_req_t claim() {
    if (answered.exchange(true)) return nullptr;
    fuse_req_interrupt_func(request, nullptr, nullptr);
    return request;
  }
};

void InFlight::enter() {
  MutexLock lock(mutex_);
  ++count_;
}

void InFlight::leave() {
  MutexLock lock(mutex_);
  if (--count_ == 0) idle_.notify_all();
}

void InFlight::wait_idle() {
  MutexLock lock(mutex_);
  while (count_ > 0) idle_.wait(mutex_);
}

Responder::Responder(fuse_req_t request, io::Reactor& home, InFlight& in_flight)
    : request_(request), in_flight_(&in_flight), home_(&home) {
  in_flight.enter();
}

Responder::~Responder() {
  if (const fuse_req_t request = claim(); request != nullptr) {
    log::limited_error("a request was left without an answer", 0,
                       [] { return "a request was left without an answer; replying EIO"; });
    fuse_reply_err(request, EIO);
  }
  if (in_flight_ != nullptr) in_flight_->leave();
}

bool Responder::error(const Error& error) {
  if (log::enabled(log::Level::kDebug)) log::debug("reply: {}", error.message());
  return status(errno_of(error));
}

fuse_req_t Responder::claim() {
  const fuse_req_t request = std::exchange(request_, nullptr);
  if (request == nullptr || shared_ == nullptr) return request;
  return shared_->claim();
}

void Responder::on_interrupt(std::move_only_function<void()> action) {
  shared_ = std::make_shared<Shared>();
  shared_->request = request_;
  shared_->home = home_;
  shared_->caller = fuse_req_ctx(request_)->pid;
  shared_->action = std::move(action);
  fuse_req_interrupt_func(request_, &Responder::interrupted, shared_.get());
}

void Responder::give_up_when_killed() {
  on_interrupt({});
}

void Responder::interrupted(fuse_req_t, void* data) {
  auto shared = static_cast<Shared*>(data)->shared_from_this();
  if (!shared->action) {
    io::Reactor& home = *shared->home;
    home.spawn(watch_caller(std::move(shared)));
    return;
  }
  io::Reactor& home = *shared->home;
  home.post([shared = std::move(shared)] {
    if (!shared->answered.load()) std::exchange(shared->action, {})();
  });
}

// The kernel tells of an interrupt once, and the first signal may be a harmless one: so look again
// now and then as long as the request is open.
io::Task<void> Responder::watch_caller(std::shared_ptr<Shared> shared) {
  while (!shared->answered.load()) {
    if (being_killed(shared->caller)) {
      if (const fuse_req_t request = shared->claim(); request != nullptr)
        fuse_reply_err(request, EINTR);
      co_return;
    }
    io::Task<void> pause = shared->home->sleep(kLookAtCallerEvery);
    co_await std::move(pause);
  }
}

}  // namespace larder::fuse
