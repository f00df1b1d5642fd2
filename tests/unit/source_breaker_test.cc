#include <gtest/gtest.h>

#include <set>
#include <vector>

#include "source/breaker.h"

namespace larder::source {
namespace {

constexpr BreakerState kStates[] = {BreakerState::kClosed, BreakerState::kOpen,
                                    BreakerState::kHalfOpen};
constexpr BreakerEvent kEvents[] = {BreakerEvent::kTrip, BreakerEvent::kProbe,
                                    BreakerEvent::kProbeSucceeded, BreakerEvent::kProbeFailed};

class BreakerTest : public testing::Test {
 protected:
  void fail_times(uint32_t n, CallKind kind, Fault fault) {
    for (uint32_t i = 0; i < n; ++i) EXPECT_FALSE(breaker_.record(kind, fault)) << i;
  }
  // The time until the next probe.
  Nanos delay() {
    const auto next = breaker_.next_probe();
    EXPECT_TRUE(next.has_value());
    return next.value_or(Nanos(0)) - clock_.monotonic();
  }

  ManualClock clock_;
  BreakerOptions options_;
  Breaker breaker_{options_, clock_, Random(7)};
};

TEST(BreakerTable, HasExactlyTheLegalTransitions) {
  int legal = 0;
  for (const BreakerState state : kStates)
    for (const BreakerEvent event : kEvents)
      if (next_state(state, event)) ++legal;
  EXPECT_EQ(legal, 4);
  EXPECT_EQ(next_state(BreakerState::kClosed, BreakerEvent::kTrip), BreakerState::kOpen);
  EXPECT_EQ(next_state(BreakerState::kOpen, BreakerEvent::kProbe), BreakerState::kHalfOpen);
  EXPECT_EQ(next_state(BreakerState::kHalfOpen, BreakerEvent::kProbeSucceeded),
            BreakerState::kClosed);
  EXPECT_EQ(next_state(BreakerState::kHalfOpen, BreakerEvent::kProbeFailed), BreakerState::kOpen);
}

TEST(BreakerDeathTest, EndOfAProbeThatNeverBeganBreaksAnInvariant) {
  const ManualClock clock;
  Breaker breaker({}, clock, Random(1));
  EXPECT_DEATH(breaker.end_probe(true), "next.has_value");
}

TEST_F(BreakerTest, OpensAfterSoManyTimeOutsInARow) {
  fail_times(options_.faults_max - 1, CallKind::kRead, Fault::kTransport);
  EXPECT_TRUE(breaker_.admits());
  EXPECT_TRUE(breaker_.record(CallKind::kRead, Fault::kTransport));
  EXPECT_FALSE(breaker_.admits());
  EXPECT_EQ(breaker_.state(), BreakerState::kOpen);
}

TEST_F(BreakerTest, AnAnswerEndsTheRow) {
  fail_times(options_.faults_max - 1, CallKind::kRead, Fault::kTransport);
  EXPECT_FALSE(breaker_.record(CallKind::kRead, Fault::kNone));
  fail_times(options_.faults_max - 1, CallKind::kRead, Fault::kTransport);
  EXPECT_TRUE(breaker_.admits());
}

TEST_F(BreakerTest, ErrorsOfOneKindOfCallDoNotOpen) {
  fail_times(10 * options_.faults_max, CallKind::kRead, Fault::kIo);
  EXPECT_TRUE(breaker_.admits());
  // Further kinds tell a broken source from a bad file.
  EXPECT_FALSE(breaker_.record(CallKind::kWrite, Fault::kIo));
  EXPECT_TRUE(breaker_.record(CallKind::kAttributes, Fault::kIo));
}

TEST_F(BreakerTest, LossOfTheRootOpensAtOnce) {
  EXPECT_TRUE(breaker_.record(CallKind::kRead, Fault::kRootLost));
  EXPECT_FALSE(breaker_.record(CallKind::kRead, Fault::kRootLost));
}

TEST_F(BreakerTest, ProbesWithBackOffAndJitterUntilOneSucceeds) {
  EXPECT_FALSE(breaker_.next_probe());
  EXPECT_FALSE(breaker_.begin_probe());
  EXPECT_TRUE(breaker_.trip());
  Nanos expected = options_.probe_delay_min;
  std::set<int64_t> shares;
  while (expected < options_.probe_delay_max) {
    EXPECT_GE(delay(), expected - expected / 4);
    EXPECT_LE(delay(), expected + expected / 4);
    shares.insert(delay().count() * 1000 / expected.count());
    clock_.advance(delay() - Nanos(1));
    EXPECT_FALSE(breaker_.begin_probe()) << "too early";
    clock_.advance(Nanos(1));
    EXPECT_TRUE(breaker_.begin_probe());
    EXPECT_EQ(breaker_.state(), BreakerState::kHalfOpen);
    EXPECT_FALSE(breaker_.begin_probe()) << "one at a time";
    EXPECT_FALSE(breaker_.admits());
    EXPECT_FALSE(breaker_.next_probe());
    breaker_.end_probe(false);
    expected *= 2;
  }
  EXPECT_GT(shares.size(), 1u) << "no jitter";
  EXPECT_LE(delay(), options_.probe_delay_max);
  clock_.advance(delay());
  EXPECT_TRUE(breaker_.begin_probe());
  breaker_.end_probe(true);
  EXPECT_TRUE(breaker_.admits());
  // All is forgotten: the count and the back-off.
  fail_times(options_.faults_max - 1, CallKind::kRead, Fault::kTransport);
  EXPECT_TRUE(breaker_.trip());
  EXPECT_LE(delay(), options_.probe_delay_min + options_.probe_delay_min / 4);
}

TEST_F(BreakerTest, AnswersToEarlierCallsDoNotCloseIt) {
  EXPECT_TRUE(breaker_.trip());
  EXPECT_FALSE(breaker_.record(CallKind::kRead, Fault::kNone));
  EXPECT_FALSE(breaker_.admits());
  EXPECT_FALSE(breaker_.trip());
}

TEST(Faults, TellTransportFromAnswers) {
  for (const int error : {ETIMEDOUT, ENOTCONN, ECONNREFUSED, ECONNRESET, ECONNABORTED, EHOSTDOWN,
                          EHOSTUNREACH, ENETDOWN, ESHUTDOWN, EREMOTEIO})
    EXPECT_EQ(fault_of(static_cast<Code>(error)), Fault::kTransport) << error;
  EXPECT_EQ(fault_of(Code::kTimedOut), Fault::kTransport);
  EXPECT_EQ(fault_of(Code::kIo), Fault::kIo);
  EXPECT_EQ(fault_of(Code::kSourceDown), Fault::kRootLost);
  for (const Code code : {Code::kNotFound, Code::kExists, Code::kNoSpace, Code::kStale})
    EXPECT_EQ(fault_of(code), Fault::kNone);
}

}  // namespace
}  // namespace larder::source
