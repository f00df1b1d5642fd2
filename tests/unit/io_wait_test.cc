// What coroutines wait for: each other, values, permits.  Every test runs on both engines.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <future>
#include <memory>
#include <thread>
#include <vector>

#include "io/async_semaphore.h"
#include "io/async_shared_mutex.h"
#include "io/completion.h"
#include "io/reactor.h"
#include "io/when_all.h"
#include "io_fixture.h"

namespace larder::io {
namespace {

// Counts how many there are, to find values destroyed twice or never.
struct Counted {
  explicit Counted(std::atomic<int>* live_in) : live(live_in) { ++*live; }
  Counted(Counted&& other) noexcept : live(other.live) { ++*live; }
  Counted& operator=(Counted&&) = delete;
  ~Counted() { --*live; }
  std::atomic<int>* live;
};

Task<void> await_completion(Completion<std::unique_ptr<Counted>> completion, int* got) {
  const std::unique_ptr<Counted> value = co_await completion;
  EXPECT_NE(value, nullptr);
  ++*got;
}

TEST_P(ReactorTest, CompletionMayBeSetBeforeAndAfterTheAwait) {
  std::atomic<int> live = 0;
  int got = 0;
  const Completion<std::unique_ptr<Counted>> early;
  EXPECT_TRUE(early.set(std::make_unique<Counted>(&live)));
  EXPECT_FALSE(early.set(std::make_unique<Counted>(&live)));
  run(await_completion(early, &got));
  EXPECT_FALSE(early.set(std::make_unique<Counted>(&live))) << "also not when it was taken";

  const Completion<std::unique_ptr<Counted>> late;
  std::promise<void> done;
  reactor_->spawn(call_after(await_completion(late, &got), &done));
  std::promise<void> waiting;
  reactor_->post([&] { waiting.set_value(); });
  waiting.get_future().wait();
  EXPECT_TRUE(late.set(std::make_unique<Counted>(&live)));
  EXPECT_FALSE(late.set(std::make_unique<Counted>(&live)));
  done.get_future().wait();
  reactor_->stop();
  EXPECT_EQ(got, 2);
  EXPECT_EQ(live, 0);
}

TEST_P(ReactorTest, RacingSettersGiveOneValue) {
  int sum = 0;
  std::atomic<int> accepted = 0;
  std::vector<Completion<int>> completions(kMany / 10);
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < 3; ++t) {
      threads.emplace_back([&] {
        for (const auto& completion : completions) accepted += completion.set(1) ? 1 : 0;
      });
    }
    for (const auto& completion : completions) reactor_->spawn(sum_completion(completion, &sum));
  }
  reactor_->stop();
  EXPECT_EQ(accepted, static_cast<int>(completions.size()));
  EXPECT_EQ(sum, accepted);
}

Task<void> await_event(Event* event, std::atomic<int>* woken, Reactor* own) {
  co_await *event;
  EXPECT_EQ(Reactor::current(), own);
  ++*woken;
}

TEST_P(ReactorTest, EventWakesAllOnTheirOwnReactors) {
  const auto other = start();
  Event event;
  std::atomic<int> woken = 0;
  for (int i = 0; i < 100; ++i) {
    reactor_->spawn(await_event(&event, &woken, reactor_.get()));
    other->spawn(await_event(&event, &woken, other.get()));
  }
  EXPECT_FALSE(event.is_set());
  event.set();
  event.set();
  reactor_->spawn(await_event(&event, &woken, reactor_.get()));
  reactor_->stop();
  other->stop();
  EXPECT_TRUE(event.is_set());
  EXPECT_EQ(woken, 201);
}

struct Critical {
  AsyncMutex mutex;
  int inside = 0;  // guarded by mutex, as TSan sees
  int entered = 0;
};

Task<void> enter_critical(Critical* critical, Reactor* own, int times) {
  for (int i = 0; i < times; ++i) {
    AsyncMutex::Guard guard = co_await critical->mutex.lock();
    EXPECT_EQ(Reactor::current(), own);
    EXPECT_EQ(++critical->inside, 1);
    if (i % 7 == 0) co_await own->sleep(Nanos::zero());  // held across a wait
    --critical->inside;
    ++critical->entered;
  }
}

TEST_P(ReactorTest, AsyncMutexExcludesAcrossReactors) {
  const auto other = start();
  Critical critical;
  constexpr int kCoroutines = 20;
  for (int i = 0; i < kCoroutines; ++i) {
    reactor_->spawn(enter_critical(&critical, reactor_.get(), 50));
    other->spawn(enter_critical(&critical, other.get(), 50));
  }
  reactor_->stop();
  other->stop();
  EXPECT_EQ(critical.entered, 2 * kCoroutines * 50);
}

Task<void> lock_and_note(AsyncMutex* mutex, int id, std::vector<int>* order) {
  const AsyncMutex::Guard guard = co_await mutex->lock();
  order->push_back(id);
}

Task<void> lock_in_order(AsyncMutex* mutex, std::vector<int>* order) {
  AsyncMutex::Guard held = co_await mutex->lock();
  TaskGroup group;
  for (int i = 0; i < 100; ++i) group.add(lock_and_note(mutex, i, order));
  EXPECT_TRUE(order->empty());
  held.unlock();
  group.add(lock_and_note(mutex, 100, order));  // comes last, though the lock was just given up
  co_await group.wait();
}

TEST_P(ReactorTest, AsyncMutexIsFair) {
  AsyncMutex mutex;
  std::vector<int> order;
  run(lock_in_order(&mutex, &order));
  ASSERT_EQ(order.size(), 101u);
  EXPECT_TRUE(std::is_sorted(order.begin(), order.end()));
}

Task<void> lock_shared_and_note(AsyncSharedMutex* mutex, int id, std::vector<int>* order) {
  const AsyncSharedMutex::Guard guard = co_await mutex->lock_shared();
  order->push_back(id);
}

Task<void> lock_alone_and_note(AsyncSharedMutex* mutex, int id, std::vector<int>* order) {
  const AsyncSharedMutex::Guard guard = co_await mutex->lock();
  order->push_back(id);
}

Task<void> share_in_order(AsyncSharedMutex* mutex, std::vector<int>* order) {
  AsyncSharedMutex::Guard held = co_await mutex->lock_shared();
  TaskGroup group;
  group.add(lock_shared_and_note(mutex, 0, order));
  EXPECT_EQ(order->size(), 1U) << "it is shared";
  group.add(lock_alone_and_note(mutex, 1, order));
  group.add(lock_shared_and_note(mutex, 2, order));  // after who came before it
  group.add(lock_shared_and_note(mutex, 3, order));
  group.add(lock_alone_and_note(mutex, 4, order));
  EXPECT_EQ(order->size(), 1U);
  held.unlock();
  co_await group.wait();
}

TEST_P(ReactorTest, AsyncSharedMutexIsFair) {
  AsyncSharedMutex mutex;
  std::vector<int> order;
  run(share_in_order(&mutex, &order));
  EXPECT_EQ(order, (std::vector<int>{0, 1, 2, 3, 4}));
}

struct Shared {
  AsyncSharedMutex mutex;
  int alone = 0;  // guarded by mutex, as TSan sees
  std::atomic<int> sharing = 0;
};

Task<void> enter_shared(Shared* shared, Reactor* own, int id) {
  for (int i = 0; i < 30; ++i) {
    if ((i + id) % 3 == 0) {
      const AsyncSharedMutex::Guard guard = co_await shared->mutex.lock();
      EXPECT_EQ(shared->sharing.load(), 0);
      ++shared->alone;
      if (i % 7 == 0) co_await own->sleep(Nanos::zero());
      EXPECT_EQ(shared->sharing.load(), 0);
    } else {
      const AsyncSharedMutex::Guard guard = co_await shared->mutex.lock_shared();
      EXPECT_EQ(Reactor::current(), own);
      ++shared->sharing;
      if (i % 5 == 0) co_await own->sleep(Nanos::zero());
      --shared->sharing;
    }
  }
}

TEST_P(ReactorTest, AsyncSharedMutexExcludesAcrossReactors) {
  const auto other = start();
  Shared shared;
  constexpr int kCoroutines = 12;
  for (int id = 0; id < kCoroutines; ++id) {
    reactor_->spawn(enter_shared(&shared, reactor_.get(), id));
    other->spawn(enter_shared(&shared, other.get(), id));
  }
  reactor_->stop();
  other->stop();
  EXPECT_EQ(shared.alone, 2 * kCoroutines * 10);
}

Task<void> take_units(AsyncSemaphore* semaphore, uint64_t units, int id, std::vector<int>* order) {
  const AsyncSemaphore::Permit permit = co_await semaphore->acquire(units);
  order->push_back(id);
}

Task<void> contend(AsyncSemaphore* semaphore, std::vector<int>* order) {
  AsyncSemaphore::Permit first = co_await semaphore->acquire(2);
  TaskGroup group;
  group.add(take_units(semaphore, 3, 0, order));   // large: waits for all
  group.add(take_units(semaphore, 1, 1, order));   // would fit, but came later
  group.add(take_units(semaphore, 99, 2, order));  // counts as all there are
  EXPECT_TRUE(order->empty());
  EXPECT_FALSE(semaphore->try_acquire()) << "others wait";
  first.release();
  co_await group.wait();
}

TEST_P(ReactorTest, SemaphoreServesInOrder) {
  AsyncSemaphore semaphore(3);
  std::vector<int> order;
  run(contend(&semaphore, &order));
  EXPECT_EQ(order, (std::vector<int>{0, 1, 2}));
  EXPECT_EQ(semaphore.available(), 3u);
  AsyncSemaphore::Permit all = semaphore.try_acquire(3);
  EXPECT_TRUE(all);
  EXPECT_FALSE(semaphore.try_acquire());
}

struct Load {
  AsyncSemaphore semaphore{3};
  std::atomic<int> inside = 0;
  std::atomic<int> inside_max = 0;
  std::atomic<int> ended = 0;
};

Task<void> hold_permit(Load* load, Reactor* own) {
  const AsyncSemaphore::Permit permit = co_await load->semaphore.acquire();
  const int now_inside = ++load->inside;
  int seen = load->inside_max;
  while (seen < now_inside && !load->inside_max.compare_exchange_weak(seen, now_inside)) {
  }
  co_await own->sleep(1us);
  --load->inside;
  ++load->ended;
}

TEST_P(ReactorTest, SemaphoreBoundsAcrossReactors) {
  const auto other = start();
  Load load;
  for (int i = 0; i < 500; ++i) {
    reactor_->spawn(hold_permit(&load, reactor_.get()));
    other->spawn(hold_permit(&load, other.get()));
  }
  reactor_->stop();
  other->stop();
  EXPECT_EQ(load.ended, 1000);
  EXPECT_LE(load.inside_max, 3);
  EXPECT_EQ(load.semaphore.available(), 3u);
}

Task<Result<int>> doubled(Reactor* reactor, int n) {
  if (n < 0) co_return fail(Code::kInvalid, "negative");
  if (n % 2 == 0) co_await reactor->sleep(Nanos(1'000 * (100 - n)));
  co_return 2 * n;
}

Task<void> double_all(Reactor* reactor) {
  std::vector<Task<Result<int>>> tasks;
  for (int i = -1; i < 100; ++i) tasks.push_back(doubled(reactor, i));
  const std::vector<Result<int>> results = co_await when_all(std::move(tasks));
  EXPECT_EQ(results.size(), 101u);
  EXPECT_FALSE(results[0]);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(results[i + 1], 2 * i);
  std::vector<Task<Result<int>>> none;
  const std::vector<Result<int>> nothing = co_await when_all(std::move(none));
  EXPECT_TRUE(nothing.empty());
}

TEST_P(ReactorTest, WhenAllKeepsTheOrderOfResults) {
  run(double_all(reactor_.get()));
}

// Locals of coroutines are on the heap; the stack is where a plain function is called.
[[gnu::noinline]] uintptr_t stack_top() {
  return reinterpret_cast<uintptr_t>(__builtin_frame_address(0));
}

Task<uintptr_t> stack_position() {
  co_return stack_top();
}

Task<uintptr_t> stack_position_after_wait(Reactor* reactor) {
  co_await reactor->sleep(Nanos::zero());
  co_return stack_top();
}

// Frames of the same call may differ by a little with where it was resumed; growth would be 16
// bytes or more for each await.
bool near(uintptr_t a, uintptr_t b) {
  return std::max(a, b) - std::min(a, b) < 16 * 1024;
}

Task<void> await_often(Reactor* reactor) {
  const uintptr_t first = co_await stack_position();
  int grown = 0;
  for (int i = 0; i < 100'000; ++i) {
    const uintptr_t here = co_await stack_position();
    grown += near(here, first) ? 0 : 1;
  }
  const uintptr_t later = co_await stack_position_after_wait(reactor);
  for (int i = 0; i < 5'000; ++i) {
    const uintptr_t here = co_await stack_position_after_wait(reactor);
    grown += near(here, later) ? 0 : 1;
  }
  EXPECT_EQ(grown, 0);
}

TEST_P(ReactorTest, LoopsOfAwaitsUseConstantStack) {
  run(await_often(reactor_.get()));
}

Task<int> depth_of(Reactor* reactor, int depth) {
  if (depth == 0) {
    co_await reactor->sleep(Nanos::zero());
    co_return 0;
  }
  const int below = co_await depth_of(reactor, depth - 1);
  co_return below + 1;
}

Task<void> nest(Reactor* reactor) {
  EXPECT_EQ(co_await depth_of(reactor, 1'000), 1'000);
}

TEST_P(ReactorTest, TasksNest) {
  run(nest(reactor_.get()));
}

Task<Result<std::unique_ptr<Counted>>> make_counted(std::atomic<int>* live, bool wait) {
  if (wait) co_await Reactor::current()->sleep(Nanos::zero());
  co_return std::make_unique<Counted>(live);
}

Task<Result<void>> fails_when(bool failing) {
  if (failing) co_return fail(Code::kStale, "as asked");
  co_return {};
}

Task<Result<int>> uses_macros(std::atomic<int>* live) {
  CO_TRY(co_await fails_when(false));
  CO_TRY_ASSIGN(const auto first, co_await make_counted(live, false));
  CO_TRY_ASSIGN(const auto second, co_await make_counted(live, true));
  EXPECT_EQ(*live, 2);
  CO_TRY(co_await fails_when(true));
  co_return 1;
}

Task<void> check_macros(std::atomic<int>* live) {
  const Result<int> result = co_await uses_macros(live);
  EXPECT_FALSE(result);
  EXPECT_EQ(result.error().code(), Code::kStale);
  EXPECT_EQ(*live, 0);
}

TEST_P(ReactorTest, ErrorsPassThroughCoroutines) {
  std::atomic<int> live = 0;
  run(check_macros(&live));
}

Task<void> suspend_for_ever() {
  co_await std::suspend_always();
}

TEST(TaskDeathTest, AStartedTaskMustEndBeforeItIsDestroyed) {
  EXPECT_DEATH(
      {
        auto task = std::make_unique<Task<void>>(suspend_for_ever());
        auto started = std::move(*task).operator co_await();
        (void)started.await_suspend(std::noop_coroutine());
        task.reset();
      },
      "done");
}

TEST(Task, MayBeDroppedUnstarted) {
  const auto held = std::make_shared<int>(0);
  {
    const auto coroutine = [](std::shared_ptr<int> copy) -> Task<void> {
      ++*copy;
      co_return;
    };
    const Task<void> task = coroutine(held);
    EXPECT_EQ(held.use_count(), 2);
  }
  EXPECT_EQ(held.use_count(), 1);
  EXPECT_EQ(*held, 0);
}

}  // namespace
}  // namespace larder::io
