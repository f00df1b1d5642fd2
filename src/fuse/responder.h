// Exactly one reply to each request.
//
// A Responder destroyed without having replied replies EIO and logs it.  send() returns whether the
// kernel took the reply; when it did not (the request was answered by an interrupt, or the
// connection is gone), the caller undoes what the kernel would have had to give back: lookups,
// handles.
//
// A reply may make the kernel drop its last reference to something and send more requests: hold no
// lock when replying.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <utility>

#include "base/clock.h"
#include "base/error.h"
#include "base/metrics.h"
#include "base/mutex.h"
#include "fuse/libfuse.h"
#include "io/reactor.h"

namespace larder::fuse {

// Counts the requests that have left their worker.  Thread-safe.
class InFlight {
 public:
  void enter();
  void leave();
  // Until none is left.
  void wait_idle();

 private:
  Mutex mutex_;
  CondVar idle_;
  int64_t count_ GUARDED_BY(mutex_) = 0;
};

// Movable, not copyable.  Used by one thread at a time.
class Responder {
 public:
  // For a request answered on its worker.
  explicit Responder(fuse_req_t request) : request_(request) {}
  // For one that leaves its worker for the reactor `home`.  The three must outlive the Responder.
  Responder(fuse_req_t request, io::Reactor& home, InFlight& in_flight);
  Responder(Responder&& other) noexcept
      : request_(std::exchange(other.request_, nullptr)),
        shared_(std::move(other.shared_)),
        in_flight_(std::exchange(other.in_flight_, nullptr)),
        home_(other.home_) {}
  Responder& operator=(Responder&&) = delete;
  ~Responder();

  // The same request, to be answered from `home`.
  Responder move_to(io::Reactor& home, InFlight& in_flight) {
    return Responder(std::exchange(request_, nullptr), home, in_flight);
  }
  // Answers EINTR as soon as the caller is being killed, so that a process stuck on a hung source
  // goes away. Signals that do not kill change nothing: programs do not expect EINTR from a file on
  // disk.
  void give_up_when_killed();
  // `action` runs on the home reactor, at most once, when the request is interrupted before it is
  // answered.
  void on_interrupt(std::move_only_function<void()> action);

  // reply is called as `int reply(fuse_req_t)` with one of the fuse_reply functions' results,
  // unless the request has been answered already.
  template <class Reply>
  bool send(Reply&& reply) {
    const fuse_req_t request = claim();
    return request != nullptr && std::forward<Reply>(reply)(request) == 0;
  }
  // 0: success without a value.
  bool status(int errno_value) {
    return send([=](fuse_req_t request) { return fuse_reply_err(request, errno_value); });
  }
  bool error(const Error& error);

 private:
  struct Shared;
  static void interrupted(fuse_req_t request, void* shared);
  static io::Task<void> watch_caller(std::shared_ptr<Shared> shared);
  // The request, or null when it has been answered.
  fuse_req_t claim();

  fuse_req_t request_;
  std::shared_ptr<Shared> shared_;  // only once interrupts are looked for
  InFlight* in_flight_ = nullptr;
  io::Reactor* home_ = nullptr;
};

}  // namespace larder::fuse
