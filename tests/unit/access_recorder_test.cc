#include "fs/access_recorder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

namespace larder::fs {
namespace {

using testing::ElementsAre;
using testing::FieldsAre;
using testing::IsEmpty;
using State = AccessRecorder::State;
using What = AccessRecorder::What;

constexpr uint64_t kWhole = Access::kWholeFile;

class AccessRecorderTest : public ::testing::Test {
 protected:
  uint64_t begin(What what) {
    const auto recording = recorder_.begin(what);
    EXPECT_TRUE(recording) << recording.error().message();
    return recording.value_or(0);
  }
  AccessRecorder::Batch fetch(uint64_t recording, size_t accesses_max = 1000) {
    auto batch = recorder_.fetch(recording, accesses_max);
    EXPECT_TRUE(batch) << batch.error().message();
    return batch ? std::move(*batch) : AccessRecorder::Batch{};
  }
  int64_t metric(const std::string& name) const {
    for (const Registry::Entry& entry : registry_.entries()) {
      if (entry.name != "larder_record_" + name) continue;
      if (entry.counter != nullptr) return static_cast<int64_t>(entry.counter->value());
      return entry.gauge != nullptr ? entry.gauge->value() : entry.read();
    }
    ADD_FAILURE() << name;
    return -1;
  }
  int64_t wall_s() const { return std::chrono::floor<std::chrono::seconds>(clock_.wall()).count(); }

  ManualClock clock_;
  Registry registry_;
  AccessRecorder recorder_{clock_, registry_};
};

TEST_F(AccessRecorderTest, NothingIsWantedUntilOneBegins) {
  EXPECT_FALSE(recorder_.wants(What::kOpens));
  EXPECT_FALSE(recorder_.wants(What::kBlocks));
  recorder_.note_open(NodeId{2}, 4096);  // came too late
  EXPECT_EQ(metric("accesses_total"), 0);
  EXPECT_EQ(metric("active"), 0);
  EXPECT_TRUE(recorder_.fetch(1, 1).error().is(Code::kNotFound));
  EXPECT_TRUE(recorder_.end(0).error().is(Code::kNotFound));
}

TEST_F(AccessRecorderTest, OpensComeInOrderWithTheirTimes) {
  const uint64_t recording = begin(What::kOpens);
  EXPECT_TRUE(recorder_.wants(What::kOpens));
  EXPECT_FALSE(recorder_.wants(What::kBlocks));
  EXPECT_EQ(metric("active"), 1);
  const int64_t start_s = wall_s();
  recorder_.note_open(NodeId{7}, 8192);
  recorder_.note_read({NodeId{7}, 0, 100, 100, 4096});  // not of this kind
  clock_.advance(std::chrono::seconds(3));
  recorder_.note_open(NodeId{2}, 0);
  recorder_.note_open(NodeId{7}, 8192);
  EXPECT_EQ(metric("queued"), 3);
  auto batch = fetch(recording, 2);
  EXPECT_EQ(batch.state, State::kMore);
  EXPECT_THAT(batch.accesses, ElementsAre(FieldsAre(NodeId{7}, kWhole, 8192u, start_s),
                                          FieldsAre(NodeId{2}, kWhole, 0u, start_s + 3)));
  batch = fetch(recording, 2);
  EXPECT_EQ(batch.state, State::kIdle);
  EXPECT_THAT(batch.accesses, ElementsAre(FieldsAre(NodeId{7}, kWhole, 8192u, start_s + 3)));
  EXPECT_EQ(metric("queued"), 0);
  EXPECT_EQ(metric("accesses_total"), 3);
}

TEST_F(AccessRecorderTest, ReadsAreTheBlocksTheyTouchBelowTheFilesEnd) {
  const uint64_t recording = begin(What::kBlocks);
  recorder_.note_read({NodeId{3}, 4095, 2, 10'000, 4096});
  recorder_.note_read({NodeId{3}, 8192, 1 << 20, 10'000, 4096});
  recorder_.note_read({NodeId{3}, 10'000, 5, 10'000, 4096});  // at the end
  recorder_.note_read({NodeId{3}, 0, 0, 10'000, 4096});
  recorder_.note_open(NodeId{3}, 12'288);  // not of this kind
  const int64_t now_s = wall_s();
  EXPECT_THAT(fetch(recording).accesses, ElementsAre(FieldsAre(NodeId{3}, 0u, 4096u, now_s),
                                                     FieldsAre(NodeId{3}, 1u, 4096u, now_s),
                                                     FieldsAre(NodeId{3}, 2u, 1808u, now_s)));
}

TEST_F(AccessRecorderTest, AFullRingDropsAndCounts) {
  const uint64_t recording = begin(What::kOpens);
  for (size_t i = 0; i < AccessRecorder::kCapacity + 5; ++i) recorder_.note_open(NodeId{i + 1}, i);
  EXPECT_EQ(metric("dropped_total"), 5);
  EXPECT_EQ(metric("queued"), static_cast<int64_t>(AccessRecorder::kCapacity));
  auto batch = fetch(recording, 3);
  EXPECT_EQ(batch.dropped, 5u);
  EXPECT_EQ(batch.accesses.front().node, NodeId{1});
  // Room for three again, across the ring's seam.
  for (uint64_t id = 100'000; id < 100'004; ++id) recorder_.note_open(NodeId{id}, 1);
  batch = fetch(recording, AccessRecorder::kCapacity);
  EXPECT_EQ(batch.dropped, 6u);
  ASSERT_EQ(batch.accesses.size(), AccessRecorder::kCapacity);
  EXPECT_EQ(batch.accesses.front().node, NodeId{4});
  EXPECT_EQ(batch.accesses.back().node, NodeId{100'002});
}

TEST_F(AccessRecorderTest, AnEndedOneGivesWhatIsLeft) {
  const uint64_t recording = begin(What::kOpens);
  for (uint64_t id = 1; id <= 3; ++id) recorder_.note_open(NodeId{id}, 1);
  EXPECT_TRUE(recorder_.end(recording));
  EXPECT_FALSE(recorder_.wants(What::kOpens));
  recorder_.note_open(NodeId{4}, 1);
  EXPECT_TRUE(recorder_.begin(What::kOpens).error().is(Code::kBusy)) << "it is not read yet";
  EXPECT_EQ(fetch(recording, 2).state, State::kMore);
  const auto batch = fetch(recording, 2);
  EXPECT_EQ(batch.state, State::kEnd);
  EXPECT_THAT(batch.accesses, testing::SizeIs(1));
  EXPECT_TRUE(recorder_.fetch(recording, 2).error().is(Code::kNotFound));
  EXPECT_EQ(metric("active"), 0);
  clock_.advance(Nanos(1));
  EXPECT_NE(begin(What::kBlocks), recording);
}

TEST_F(AccessRecorderTest, OneAtATimeUntilItIsCancelled) {
  const uint64_t recording = begin(What::kOpens);
  recorder_.note_open(NodeId{1}, 1);
  EXPECT_TRUE(recorder_.begin(What::kBlocks).error().is(Code::kBusy));
  EXPECT_TRUE(recorder_.cancel(recording + 1).error().is(Code::kNotFound));
  EXPECT_TRUE(recorder_.cancel(recording));
  EXPECT_FALSE(recorder_.wants(What::kOpens));
  EXPECT_EQ(metric("queued"), 0);
  clock_.advance(Nanos(1));
  EXPECT_THAT(fetch(begin(What::kBlocks)).accesses, IsEmpty());
}

TEST_F(AccessRecorderTest, ItEndsWhenNobodyFetches) {
  const uint64_t recording = begin(What::kOpens);
  for (int i = 0; i < 3; ++i) {
    clock_.advance(AccessRecorder::kLease - Nanos(1));
    recorder_.note_open(NodeId{1}, 1);
    EXPECT_THAT(fetch(recording).accesses, testing::SizeIs(1));
  }
  clock_.advance(AccessRecorder::kLease);
  EXPECT_TRUE(recorder_.wants(What::kOpens)) << "nobody has looked yet";
  recorder_.note_open(NodeId{1}, 1);
  EXPECT_FALSE(recorder_.wants(What::kOpens));
  EXPECT_EQ(metric("accesses_total"), 3);
  EXPECT_TRUE(recorder_.fetch(recording, 1).error().is(Code::kNotFound));
}

TEST_F(AccessRecorderTest, ItsEndIsFoundAlsoWithoutAnAccess) {
  uint64_t recording = begin(What::kOpens);
  clock_.advance(AccessRecorder::kLease);
  EXPECT_EQ(metric("active"), 0);
  EXPECT_FALSE(recorder_.wants(What::kOpens));
  recording = begin(What::kOpens);
  clock_.advance(AccessRecorder::kLease);
  EXPECT_TRUE(recorder_.end(recording).error().is(Code::kNotFound));
  begin(What::kOpens);
  clock_.advance(AccessRecorder::kLease);
  begin(What::kBlocks);
}

TEST_F(AccessRecorderTest, ManyThreadsAtOnce) {
  constexpr uint64_t kThreads = 4, kEach = 20'000;
  const uint64_t recording = begin(What::kOpens);
  std::vector<std::jthread> threads;
  for (uint64_t id = 1; id <= kThreads; ++id)
    threads.emplace_back([this, id] {
      for (uint64_t i = 0; i < kEach; ++i)
        if (recorder_.wants(What::kOpens)) recorder_.note_open(NodeId{id}, i);
    });
  std::vector<uint64_t> next(kThreads + 1);
  uint64_t got = 0, dropped = 0;
  while (got + dropped < kThreads * kEach) {
    const auto batch = fetch(recording, 512);
    dropped = batch.dropped;
    got += batch.accesses.size();
    for (const Access& access : batch.accesses) {
      uint64_t& expected = next.at(access.node.value);
      EXPECT_GE(access.size_bytes, expected) << "each thread's own in order";
      expected = access.size_bytes + 1;
    }
  }
  EXPECT_EQ(got + dropped, kThreads * kEach);
}

}  // namespace
}  // namespace larder::fs
