#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <future>
#include <memory>
#include <thread>
#include <vector>

#include "base/mutex.h"
#include "io/worker_pool.h"

namespace larder::io {
namespace {

using namespace std::chrono_literals;

// Jobs wait in pass() until open().
class Gate {
 public:
  void open() {
    MutexLock lock(mutex_);
    open_ = true;
    changed_.notify_all();
  }
  void pass() {
    MutexLock lock(mutex_);
    ++inside_;
    changed_.notify_all();
    while (!open_) changed_.wait(mutex_);
    --inside_;
  }
  void wait_for_inside(int n) {
    MutexLock lock(mutex_);
    while (inside_ != n) changed_.wait(mutex_);
  }

 private:
  Mutex mutex_;
  CondVar changed_;
  bool open_ GUARDED_BY(mutex_) = false;
  int inside_ GUARDED_BY(mutex_) = 0;
};

TEST(WorkerPool, RunsEveryJobBeforeItEnds) {
  std::atomic<int> ran = 0;
  constexpr int kJobs = 1000;
  {
    WorkerPool pool({.threads_max = 4, .queue_max = kJobs});
    for (int i = 0; i < kJobs; ++i) ASSERT_TRUE(pool.submit([&] { ++ran; }));
  }
  EXPECT_EQ(ran, kJobs);
}

TEST(WorkerPool, IsBoundedInThreadsAndQueue) {
  Gate gate;
  constexpr uint32_t kThreads = 3;
  constexpr uint32_t kQueue = 5;
  WorkerPool pool({.threads_max = kThreads, .queue_max = kQueue});
  EXPECT_EQ(pool.threads(), 0u) << "threads start when needed";
  for (uint32_t i = 0; i < kThreads; ++i) {
    ASSERT_TRUE(pool.submit([&] { gate.pass(); }));
    gate.wait_for_inside(static_cast<int>(i) + 1);
    EXPECT_EQ(pool.threads(), i + 1);
  }
  for (uint32_t i = 0; i < kQueue; ++i) ASSERT_TRUE(pool.submit([&] { gate.pass(); }));
  EXPECT_EQ(pool.busy(), kThreads);
  EXPECT_EQ(pool.queued(), kQueue);
  EXPECT_FALSE(pool.submit([] { FAIL() << "the queue is full"; }));
  EXPECT_EQ(pool.threads(), kThreads);
  gate.open();
  pool.stop(Nanos::max());
  EXPECT_EQ(pool.threads(), 0u);
  EXPECT_EQ(pool.queued(), 0u);
  EXPECT_FALSE(pool.submit([] { FAIL() << "the pool has stopped"; }));
}

TEST(WorkerPool, StartsJobsInOrder) {
  std::vector<int> order;
  {
    WorkerPool pool({.threads_max = 1, .queue_max = 100});
    for (int i = 0; i < 100; ++i) ASSERT_TRUE(pool.submit([&order, i] { order.push_back(i); }));
  }
  ASSERT_EQ(order.size(), 100u);
  EXPECT_TRUE(std::ranges::is_sorted(order));
}

TEST(WorkerPool, LeavesHungJobsBehind) {
  const auto gate = std::make_shared<Gate>();
  const auto ended = std::make_shared<std::promise<void>>();
  const auto unrun = std::make_shared<int>(0);
  {
    WorkerPool pool({.threads_max = 1, .queue_max = 10});
    ASSERT_TRUE(pool.submit([gate, ended] {
      gate->pass();
      ended->set_value();
    }));
    gate->wait_for_inside(1);
    ASSERT_TRUE(pool.submit([unrun] { ++*unrun; }));
    pool.stop(1ms);
    EXPECT_EQ(pool.busy(), 1u);
    EXPECT_EQ(unrun.use_count(), 1) << "a queued job is destroyed";
    pool.stop(1ms);
  }
  gate->open();
  ended->get_future().wait();
  EXPECT_EQ(*unrun, 0);
}

TEST(WorkerPool, IdleThreadsEnd) {
  WorkerPool pool({.threads_max = 4, .queue_max = 10, .idle_max = 1ms});
  std::promise<void> ran;
  ASSERT_TRUE(pool.submit([&] { ran.set_value(); }));
  ran.get_future().wait();
  while (pool.threads() != 0) std::this_thread::yield();
  std::promise<void> again;
  ASSERT_TRUE(pool.submit([&] { again.set_value(); }));
  again.get_future().wait();
}

TEST(WorkerPool, TakesJobsFromManyThreads) {
  std::atomic<int> ran = 0;
  std::atomic<int> accepted = 0;
  {
    WorkerPool pool({.threads_max = 4, .queue_max = 64, .idle_max = 1us});
    std::vector<std::jthread> submitters;
    for (int t = 0; t < 4; ++t) {
      submitters.emplace_back([&] {
        for (int i = 0; i < 2000; ++i) {
          if (pool.submit([&] { ++ran; })) ++accepted;
        }
      });
    }
  }
  EXPECT_GT(accepted, 0);
  EXPECT_EQ(ran, accepted);
}

}  // namespace
}  // namespace larder::io
