// Invariants (under the mutex): threads.size() <= threads_max; queue.size() <= queue_max; busy +
// idle equals the threads that have not ended; a job is in the queue or owned by one busy thread.
#include "io/worker_pool.h"

#include <algorithm>
#include <deque>
#include <list>
#include <thread>
#include <utility>

#include "base/check.h"
#include "base/mutex.h"
#include "io/thread.h"

namespace larder::io {
namespace {

// Of one wait: what adds it to the time of day must not overflow.
constexpr Nanos kWaitMax = std::chrono::hours(1);

}  // namespace

struct WorkerPool::State {
  struct Worker {
    std::thread thread;
    bool ended = false;  // about to return: joining hardly waits
  };

  explicit State(Options options_in) : options(std::move(options_in)) {}

  const Options options;
  Mutex mutex;
  CondVar work;        // a job was queued, or the pool stops
  CondVar thread_end;  // a thread ended
  std::deque<std::move_only_function<void()>> queue GUARDED_BY(mutex);
  std::list<Worker> workers GUARDED_BY(mutex);
  uint32_t live GUARDED_BY(mutex) = 0;  // threads that have not ended
  uint32_t idle GUARDED_BY(mutex) = 0;
  bool stopping GUARDED_BY(mutex) = false;

  bool grow(const std::shared_ptr<State>& self) REQUIRES(mutex);
  void work_until_idle() REQUIRES(mutex);
};

WorkerPool::WorkerPool(Options options) : state_(std::make_shared<State>(std::move(options))) {
  CHECK(state_->options.threads_max > 0 && state_->options.queue_max > 0);
}

WorkerPool::~WorkerPool() {
  {
    MutexLock lock(state_->mutex);
    if (state_->stopping) return;  // stop() has joined, or given up on, each thread
  }
  stop(Nanos::max());
}

bool WorkerPool::State::grow(const std::shared_ptr<State>& self) {
  const auto worker = workers.emplace(workers.end());
  Result<std::thread> thread = start_thread(options.name, [state = self, worker] {
    MutexLock lock(state->mutex);
    state->work_until_idle();
    --state->live;
    if (state->stopping) {
      worker->ended = true;  // stop() joins, or has left this thread behind
    } else {
      worker->thread.detach();
      state->workers.erase(worker);
    }
    state->thread_end.notify_all();
  });
  if (!thread) {
    workers.erase(worker);
    return false;
  }
  worker->thread = std::move(*thread);
  ++live;
  return true;
}

// Runs jobs until there has been none for a while, or the pool has stopped and none is left.
void WorkerPool::State::work_until_idle() {
  while (true) {
    while (!queue.empty()) {
      std::move_only_function<void()> job = std::move(queue.front());
      queue.pop_front();
      mutex.unlock();
      job();
      job = nullptr;  // what it owned goes before the lock is taken again
      mutex.lock();
    }
    if (stopping) return;
    ++idle;
    const bool woken = work.wait_for(mutex, options.idle_max);
    --idle;
    if (!woken && queue.empty()) return;
  }
}

bool WorkerPool::submit(std::move_only_function<void()> job) {
  State& state = *state_;
  MutexLock lock(state.mutex);
  if (state.stopping || state.queue.size() >= state.options.queue_max) return false;
  // An idle thread that was woken for an earlier job counts as idle until it takes the job, and the
  // job as queued; so the comparison holds.
  if (state.queue.size() >= state.idle && state.live < state.options.threads_max &&
      !state.grow(state_) && state.live == 0)
    return false;
  state.queue.push_back(std::move(job));
  state.work.notify_one();
  return true;
}

void WorkerPool::stop(Nanos patience) {
  State& state = *state_;
  std::deque<std::move_only_function<void()>> unrun;
  std::list<State::Worker> ended;
  {
    MutexLock lock(state.mutex);
    state.stopping = true;
    state.work.notify_all();
    const Clock& clock = Clock::system();
    const Nanos begun = clock.monotonic();
    while (state.live > 0) {
      const Nanos left = patience - (clock.monotonic() - begun);
      if (left <= Nanos::zero()) break;
      (void)state.thread_end.wait_for(state.mutex, std::min(left, kWaitMax));
    }
    unrun.swap(state.queue);
    for (auto worker = state.workers.begin(); worker != state.workers.end();) {
      const auto here = worker++;
      if (here->ended) {
        ended.splice(ended.end(), state.workers, here);
      } else if (here->thread.joinable()) {
        here->thread.detach();  // its entry stays: it marks it when it ends at last
      }
    }
  }
  for (State::Worker& worker : ended) {
    if (worker.thread.joinable()) worker.thread.join();
  }
}

uint32_t WorkerPool::threads() const {
  MutexLock lock(state_->mutex);
  return state_->live;
}

uint32_t WorkerPool::busy() const {
  MutexLock lock(state_->mutex);
  return state_->live - state_->idle;
}

uint32_t WorkerPool::queued() const {
  MutexLock lock(state_->mutex);
  return static_cast<uint32_t>(state_->queue.size());
}

}  // namespace larder::io
