#include "cache/janitor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>

#include "support/cache_stack.h"

namespace larder::cache {
namespace {

using std::chrono::seconds;
using testing::metric;

class JanitorTest : public ::testing::Test {
 protected:
  // A duty that notes its steps and wants what `next` says then.
  Duty noting(const std::string& name, NextStep* next, NextStep first = kAtOnce) {
    return {.name = name, .first = first, .step = [this, name, next] {
              steps_.push_back(name);
              return *next;
            }};
  }
  void run_all_due() {
    for (int i = 0; i < 100 && janitor_.run_due(); ++i) {
    }
  }
  Nanos now() const { return clock_.monotonic(); }

  ManualClock clock_;
  Registry registry_;
  Janitor janitor_{registry_, clock_};
  std::vector<std::string> steps_;
};

TEST_F(JanitorTest, ADutyRunsWhenItSaidItWouldLike) {
  NextStep next = now() + seconds(5);
  janitor_.add(noting("a", &next));
  run_all_due();
  EXPECT_EQ(steps_.size(), 1u);
  EXPECT_EQ(janitor_.next_due(), now() + seconds(5));
  clock_.advance(seconds(4));
  EXPECT_FALSE(janitor_.run_due());
  clock_.advance(seconds(1));
  next = kWhenPoked;
  run_all_due();
  EXPECT_EQ(steps_.size(), 2u);
  EXPECT_EQ(janitor_.next_due(), kWhenPoked);
}

TEST_F(JanitorTest, WithNothingToDoThereIsNoTimer) {
  NextStep next = kWhenPoked;
  const auto duty = janitor_.add(noting("a", &next, kWhenPoked));
  EXPECT_EQ(janitor_.next_due(), kWhenPoked);
  clock_.advance(std::chrono::hours(1000));
  EXPECT_FALSE(janitor_.run_due());
  janitor_.poke(duty);
  run_all_due();
  EXPECT_EQ(steps_.size(), 1u);
}

TEST_F(JanitorTest, PokesDoNotExceedTheRateLimit) {
  NextStep next = kAtOnce;
  Duty limited = noting("a", &next);
  limited.pause_min = seconds(2);
  const auto duty = janitor_.add(std::move(limited));
  run_all_due();
  janitor_.poke(duty);
  EXPECT_FALSE(janitor_.run_due());
  EXPECT_EQ(janitor_.next_due(), now() + seconds(2));
  clock_.advance(seconds(2));
  run_all_due();
  EXPECT_EQ(steps_.size(), 2u);
}

TEST_F(JanitorTest, WhatIsHeldWaitsForItsRelease) {
  NextStep next = kWhenPoked;
  Duty held = noting("poked", &next, kWhenPoked);
  held.is_held = true;
  const auto poked = janitor_.add(std::move(held));
  held = noting("due", &next, now() + seconds(5));
  held.is_held = true;
  const auto due = janitor_.add(std::move(held));
  janitor_.poke(poked);
  clock_.advance(seconds(10));
  EXPECT_FALSE(janitor_.run_due());
  EXPECT_EQ(janitor_.next_due(), kWhenPoked);
  // What came meanwhile is not forgotten.
  janitor_.release(poked);
  janitor_.release(due);
  run_all_due();
  EXPECT_THAT(steps_, ::testing::UnorderedElementsAre("poked", "due"));
}

TEST_F(JanitorTest, ReleasedBeforeItIsPokedItWaitsForThePoke) {
  NextStep next = kWhenPoked;
  Duty held = noting("a", &next, kWhenPoked);
  held.is_held = true;
  const auto duty = janitor_.add(std::move(held));
  janitor_.release(duty);
  EXPECT_FALSE(janitor_.run_due());
  janitor_.poke(duty);
  EXPECT_TRUE(janitor_.run_due());
}

TEST_F(JanitorTest, APokeDuringTheStepLeadsToAnother) {
  int steps = 0;
  Janitor::DutyId duty = 0;
  duty = janitor_.add({.name = "a", .step = [&] {
                         if (++steps == 1) janitor_.poke(duty);
                         return kWhenPoked;
                       }});
  janitor_.poke(duty);
  run_all_due();
  EXPECT_EQ(steps, 2);
}

TEST_F(JanitorTest, BusyDutiesTakeTurns) {
  NextStep next = kAtOnce;
  for (const char* name : {"a", "b", "c"}) janitor_.add(noting(name, &next));
  for (int i = 0; i < 6; ++i) {
    clock_.advance(seconds(1));
    ASSERT_TRUE(janitor_.run_due());
  }
  EXPECT_THAT(steps_, ::testing::ElementsAre("a", "b", "c", "a", "b", "c"));
}

TEST_F(JanitorTest, StepsAreCountedAndTimedByDuty) {
  const auto slow = janitor_.add({.name = "slow", .step = [this] {
                                    clock_.advance(seconds(3));
                                    return kWhenPoked;
                                  }});
  NextStep next = kWhenPoked;
  janitor_.add(noting("other", &next, kWhenPoked));
  janitor_.run_duty(slow);
  EXPECT_EQ(metric(registry_, "larder_janitor_steps_total", {{"duty", "slow"}}), 1);
  EXPECT_EQ(metric(registry_, "larder_janitor_steps_total", {{"duty", "other"}}), 0);
  const Histogram& took =
      registry_.histogram("larder_janitor_step_seconds", "", {{"duty", "slow"}});
  EXPECT_EQ(took.count(), 1u);
  EXPECT_EQ(took.sum(), seconds(3));
}

// On its own thread.
class JanitorThreadTest : public ::testing::Test {
 protected:
  Registry registry_;
  Janitor janitor_{registry_, Clock::system()};
};

TEST_F(JanitorThreadTest, APokeWakesIt) {
  std::promise<void> stepped;
  const auto duty = janitor_.add({.name = "a", .step = [&] {
                                    stepped.set_value();
                                    return kWhenPoked;
                                  }});
  janitor_.start();
  janitor_.poke(duty);
  stepped.get_future().get();
  janitor_.stop();
  janitor_.poke(duty);
  EXPECT_EQ(metric(registry_, "larder_janitor_steps_total", {{"duty", "a"}}), 1);
}

TEST_F(JanitorThreadTest, AReleaseWakesIt) {
  std::promise<void> stepped, looked;
  const auto duty = janitor_.add({.name = "a", .is_held = true, .step = [&] {
                                    stepped.set_value();
                                    return kWhenPoked;
                                  }});
  janitor_.add({.name = "b", .first = kAtOnce, .step = [&] {
                  looked.set_value();
                  return kWhenPoked;
                }});
  janitor_.poke(duty);
  janitor_.start();
  looked.get_future().get();  // after which it sleeps
  janitor_.release(duty);
  stepped.get_future().get();
}

TEST_F(JanitorThreadTest, ATimeWakesIt) {
  std::promise<void> stepped;
  int steps = 0;
  janitor_.add({.name = "a", .first = kAtOnce, .step = [&]() -> NextStep {
                  if (++steps == 2) stepped.set_value();
                  if (steps == 2) return kWhenPoked;
                  return Clock::system().monotonic() + std::chrono::milliseconds(1);
                }});
  janitor_.start();
  stepped.get_future().get();
  janitor_.stop();
}

TEST_F(JanitorThreadTest, StopsBetweenStepsWhateverIsDue) {
  std::promise<void> stepped;
  bool first = true;
  janitor_.add({.name = "endless", .first = kAtOnce, .step = [&] {
                  if (std::exchange(first, false)) stepped.set_value();
                  return kAtOnce;
                }});
  janitor_.add({.name = "later",
                .first = Clock::system().monotonic() + std::chrono::hours(1),
                .step = [] { return kWhenPoked; }});
  janitor_.start();
  stepped.get_future().get();
  janitor_.stop();
  EXPECT_FALSE(first);
  EXPECT_EQ(metric(registry_, "larder_janitor_steps_total", {{"duty", "later"}}), 0);
}

TEST_F(JanitorThreadTest, PokesFromManyThreadsAreAllServed) {
  std::atomic<int> wanted{0};
  std::atomic<int> seen{0};
  const auto duty = janitor_.add({.name = "a", .step = [&] {
                                    seen.store(wanted.load());
                                    seen.notify_all();
                                    return kWhenPoked;
                                  }});
  janitor_.start();
  std::vector<std::jthread> threads;
  constexpr int kThreads = 4, kPokes = 1000;
  for (int t = 0; t < kThreads; ++t)
    threads.emplace_back([&] {
      for (int i = 0; i < kPokes; ++i) {
        wanted.fetch_add(1);
        janitor_.poke(duty);
      }
    });
  threads.clear();
  for (int now = seen.load(); now != kThreads * kPokes; now = seen.load()) seen.wait(now);
  janitor_.stop();
}

}  // namespace
}  // namespace larder::cache
