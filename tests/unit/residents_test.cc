// Room on the cache disk: the limit, the order of eviction, and the census.
#include "cache/residents.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <map>
#include <set>
#include <thread>

#include "base/random.h"
#include "cache/census.h"
#include "evict/registry.h"
#include "support/sim_disk.h"

namespace larder::cache {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr uint64_t kUnit = ResidentTable::kUnitBytes;
constexpr Nanos kTtl = std::chrono::hours(1);

Hints of(Priority priority) {
  Hints hints;
  hints.priority = priority;
  return hints;
}

class ResidentsTest : public ::testing::Test {
 protected:
  // Sizes are in units, as objects are counted.
  explicit ResidentsTest(uint64_t limit = 100)
      : budget_(
            {.size_bytes = limit * kUnit}, disk_, [this] { return overhead_; }, registry_, clock_),
        residents_([] { return std::move(*evict::make_policy("lru", evict::Expiry::kHonoured)); },
                   budget_, kTtl, registry_, clock_) {
    residents_.set_evict([this](NodeId node, uint64_t) {
      if (busy_.contains(node)) return false;
      evicted_.push_back(node.value);
      residents_.forget(node);
      return true;
    });
  }
  bool reserve(uint64_t node, uint64_t units, const Hints& hints = {}) {
    if (!residents_.reserve(NodeId{node}, units * kUnit, hints)) return false;
    residents_.charge(NodeId{node}, units * kUnit);
    return true;
  }
  uint64_t used() const {
    EXPECT_EQ(residents_.used_bytes() % kUnit, 0U);
    return residents_.used_bytes() / kUnit;
  }

  testing::SimDisk disk_;
  Overhead overhead_;
  Registry registry_;
  ManualClock clock_;
  Budget budget_;
  Residents residents_;
  std::set<NodeId> busy_;
  std::vector<uint64_t> evicted_;
};

TEST_F(ResidentsTest, CountsWhatIsReservedAndReleased) {
  EXPECT_TRUE(reserve(1, 30));
  EXPECT_TRUE(reserve(1, 10));
  EXPECT_TRUE(reserve(2, 20));
  EXPECT_EQ(used(), 60U);
  EXPECT_EQ(residents_.count(), 2U);
  residents_.release(NodeId{1}, 15 * kUnit);
  EXPECT_EQ(used(), 45U);
  EXPECT_EQ(residents_.forget(NodeId{1}), 25 * kUnit);
  EXPECT_EQ(used(), 20U);
  EXPECT_EQ(residents_.count(), 1U);
  EXPECT_EQ(residents_.forget(NodeId{1}), 0U);
  residents_.release(NodeId{1}, 5 * kUnit);  // forgotten: nothing to give back
  EXPECT_EQ(used(), 20U);
}

// Earlier runs left something, and the census is not over.
TEST_F(ResidentsTest, WhatIsExpectedIsTakenForUsed) {
  residents_.expect({.bytes = 60 * kUnit, .objects = 3});
  EXPECT_EQ(used(), 60U);
  EXPECT_TRUE(reserve(1, 30));
  EXPECT_FALSE(reserve(2, 20));
  EXPECT_FALSE(residents_.relieve(10));
  EXPECT_THAT(evicted_, IsEmpty());  // what should go is not known yet
  residents_.introduce(NodeId{10}, 20 * kUnit, 0);
  EXPECT_EQ(used(), 90U);
  residents_.introduce(NodeId{11}, 25 * kUnit, 0);
  EXPECT_EQ(used(), 90U);
  EXPECT_EQ(residents_.object_bytes(), 75 * kUnit);
  residents_.end_census();  // the third was not there
  EXPECT_EQ(used(), 75U);
  EXPECT_TRUE(reserve(2, 40));
  EXPECT_THAT(evicted_, ElementsAre(10));
}

// After a crash: objects that no record names, and what was written into others.
TEST_F(ResidentsTest, WhatIsNotRecordedCountsUntilAllIs) {
  residents_.expect({.bytes = 60 * kUnit, .objects = 3}, true);
  residents_.introduce(NodeId{10}, 20 * kUnit, 0);
  residents_.introduce(NodeId{11}, 25 * kUnit, 0);
  residents_.end_census();
  EXPECT_EQ(used(), 60U);
  EXPECT_FALSE(residents_.relieve(10));
  EXPECT_TRUE(reserve(1, 35));
  EXPECT_THAT(evicted_, IsEmpty());
  EXPECT_TRUE(reserve(2, 20));
  EXPECT_THAT(evicted_, ElementsAre(10));
  EXPECT_LE(used(), 100U);
  residents_.end_leftovers();
  EXPECT_EQ(used(), 80U);
}

TEST_F(ResidentsTest, TheAuditMayEndBeforeTheCensus) {
  residents_.expect({.bytes = 60 * kUnit, .objects = 3}, true);
  residents_.end_leftovers();
  EXPECT_EQ(used(), 60U);
  residents_.end_census();
  EXPECT_EQ(used(), 0U);
}

TEST_F(ResidentsTest, WhoIsMetAgainKeepsItsPriority) {
  Hints pinned;
  pinned.priority = Priority::kPinned;
  residents_.introduce(NodeId{10}, 40 * kUnit, 0, pinned);
  residents_.end_census();
  residents_.meet(NodeId{10}, 40 * kUnit, 0);
  residents_.meet(NodeId{11}, 40 * kUnit, 0);
  EXPECT_EQ(used(), 80U);
  EXPECT_TRUE(reserve(1, 30));
  EXPECT_THAT(evicted_, ElementsAre(11));
  EXPECT_FALSE(reserve(2, 70));
}

TEST_F(ResidentsTest, AnIncompleteCensusEndsNoExpectation) {
  residents_.expect({.bytes = 60 * kUnit, .objects = 3});
  residents_.introduce(NodeId{10}, 20 * kUnit, 0);
  residents_.end_census(false);
  EXPECT_EQ(used(), 60U);
  EXPECT_FALSE(residents_.has_counted_all());
  residents_.end_leftovers();
  EXPECT_TRUE(residents_.has_counted_all());
}

TEST_F(ResidentsTest, MoreThanIsExpectedCountsToo) {
  residents_.expect({.bytes = 10 * kUnit, .objects = 1});
  residents_.introduce(NodeId{10}, 20 * kUnit, 0);
  residents_.introduce(NodeId{11}, 20 * kUnit, 0);
  EXPECT_EQ(used(), 40U);
  residents_.end_census();
  EXPECT_EQ(used(), 40U);
}

TEST_F(ResidentsTest, WhatIsTakenIsCoveredFirst) {
  std::vector<uint64_t> asked;
  bool allows = true;
  residents_.set_cover([&](const Budget::Amount& taken) {
    asked.push_back(taken.bytes / kUnit);
    return allows;
  });
  EXPECT_TRUE(reserve(1, 30));
  EXPECT_TRUE(reserve(2, 10));
  allows = false;
  EXPECT_FALSE(reserve(3, 20));
  EXPECT_THAT(asked, ElementsAre(30, 40, 60));
  EXPECT_EQ(used(), 40U);
  EXPECT_EQ(residents_.count(), 2U);
}

TEST_F(ResidentsTest, WhatIsReservedCountsUntilItIsCancelled) {
  ASSERT_TRUE(residents_.reserve(NodeId{1}, 80 * kUnit));
  EXPECT_EQ(used(), 80U);
  EXPECT_EQ(residents_.count(), 1U);  // there may be a file of it from now on
  EXPECT_EQ(residents_.bytes_of(NodeId{1}), 0U);
  busy_ = {NodeId{1}};
  EXPECT_FALSE(reserve(2, 30));
  busy_.clear();
  EXPECT_EQ(residents_.forget(NodeId{1}), 0U);  // not its own yet
  EXPECT_EQ(used(), 80U);
  residents_.cancel(80 * kUnit);
  EXPECT_EQ(used(), 0U);
  EXPECT_TRUE(reserve(2, 30));
}

TEST_F(ResidentsTest, TheLeastRecentlyUsedGoesFirst) {
  for (uint64_t node = 1; node <= 5; ++node) ASSERT_TRUE(reserve(node, 20));
  residents_.touch(NodeId{1});
  residents_.touch(NodeId{3});
  EXPECT_TRUE(reserve(6, 50));
  EXPECT_THAT(evicted_, ElementsAre(2, 4, 5));
  EXPECT_TRUE(reserve(7, 10));
  EXPECT_THAT(evicted_, ElementsAre(2, 4, 5));
  EXPECT_TRUE(reserve(7, 10));
  EXPECT_THAT(evicted_, ElementsAre(2, 4, 5, 1));
}

TEST_F(ResidentsTest, WhoAsksIsNotEvicted) {
  ASSERT_TRUE(reserve(1, 50));
  ASSERT_TRUE(reserve(2, 50));
  EXPECT_TRUE(reserve(1, 30));
  EXPECT_THAT(evicted_, ElementsAre(2));
  EXPECT_FALSE(reserve(1, 30));
  EXPECT_EQ(used(), 80U);
}

TEST_F(ResidentsTest, WhatIsInUseStaysAndTheRestGoes) {
  for (uint64_t node = 1; node <= 4; ++node) ASSERT_TRUE(reserve(node, 25));
  busy_ = {NodeId{1}, NodeId{3}};
  EXPECT_TRUE(reserve(5, 40));
  EXPECT_THAT(evicted_, ElementsAre(2, 4));
  EXPECT_EQ(used(), 90U);
}

TEST_F(ResidentsTest, LowPriorityGoesFirstAndWhatIsPinnedStays) {
  ASSERT_TRUE(reserve(1, 20, of(Priority::kPinned)));
  ASSERT_TRUE(reserve(2, 20, of(Priority::kHigh)));
  ASSERT_TRUE(reserve(3, 20));
  ASSERT_TRUE(reserve(4, 20, of(Priority::kLow)));
  ASSERT_TRUE(reserve(5, 20));
  EXPECT_TRUE(reserve(6, 80, of(Priority::kLow)));
  EXPECT_THAT(evicted_, ElementsAre(4, 3, 5, 2));
  EXPECT_FALSE(reserve(7, 81));
  EXPECT_EQ(residents_.bytes_of(NodeId{1}), 20 * kUnit);
}

TEST_F(ResidentsTest, TheCensusTellsWhatIsWantedOfWhatWasUsedBeforeIt) {
  residents_.introduce(NodeId{1}, 40 * kUnit, 0);
  residents_.introduce(NodeId{1}, 99 * kUnit, 0, of(Priority::kPinned));
  EXPECT_EQ(used(), 40U);
  ASSERT_TRUE(reserve(2, 60));
  EXPECT_TRUE(reserve(3, 60));
  EXPECT_THAT(evicted_, ElementsAre(2));
}

TEST_F(ResidentsTest, AHintsTtlCountsInsteadOfTheTtlOfAll) {
  ASSERT_TRUE(reserve(1, 10, Hints{.admit = true, .ttl = std::chrono::minutes(1)}));
  ASSERT_TRUE(reserve(2, 10, Hints{.admit = true, .ttl = Nanos(0)}));
  ASSERT_TRUE(reserve(3, 10));
  clock_.advance(std::chrono::minutes(2));
  EXPECT_FALSE(residents_.expire(10));
  EXPECT_THAT(evicted_, ElementsAre(1));
  clock_.advance(std::chrono::hours(1));
  EXPECT_FALSE(residents_.expire(10));
  EXPECT_THAT(evicted_, ElementsAre(1, 3));
}

// Rules are for paths, which the census puts together from the records.
TEST_F(ResidentsTest, TheCensusAppliesRules) {
  testing::SimDisk disk;
  auto store = std::move(*journal::Store::open(disk, "", {}, registry_, clock_));
  auto catalog = std::move(*catalog::Catalog::open(*store));
  catalog::Batch batch;
  catalog::NodeRecord directory;
  directory.parent = kRootNode;
  directory.name = "keep";
  batch.put(NodeId{5}, directory);
  for (const uint64_t node : {6, 7}) {
    catalog::NodeRecord record;
    record.parent = node == 6 ? NodeId{5} : kRootNode;
    record.name = "file";
    record.object = ObjectId{node};
    record.object_bytes = 50 * kUnit;
    record.used_at_ns = static_cast<int64_t>(node);
    batch.put(NodeId{node}, record);
  }
  ASSERT_TRUE(catalog->apply(batch));
  Rules rules;
  ASSERT_TRUE(rules.add({.glob = std::move(*Glob::parse("keep/*")),
                         .admit = {},
                         .ttl = {},
                         .priority = {},
                         .pin = true}));
  Census census(*catalog, residents_, rules);
  while (census.step()) continue;
  EXPECT_TRUE(reserve(8, 50));
  EXPECT_THAT(evicted_, ElementsAre(7));
}

TEST_F(ResidentsTest, WhatIsOverGoesWithoutNeed) {
  const int64_t now_ns = clock_.wall().count();
  const int64_t hour_ns = Nanos(std::chrono::hours(1)).count();
  ASSERT_TRUE(reserve(1, 10));
  residents_.introduce(NodeId{2}, 10 * kUnit, now_ns - hour_ns / 2);
  residents_.introduce(NodeId{3}, 10 * kUnit, now_ns - 2 * hour_ns);
  residents_.introduce(NodeId{4}, 10 * kUnit, 0);  // since when is not known: since now
  EXPECT_FALSE(residents_.expire(10));
  EXPECT_THAT(evicted_, ElementsAre(3));
  clock_.advance(std::chrono::minutes(31));
  busy_ = {NodeId{2}};
  EXPECT_FALSE(residents_.expire(10));
  EXPECT_THAT(evicted_, ElementsAre(3));
  busy_.clear();
  EXPECT_TRUE(residents_.expire(1));  // as many as were asked for: there may be more
  EXPECT_THAT(evicted_, ElementsAre(3, 2));
  residents_.touch(NodeId{1});  // a use does not keep it
  clock_.advance(std::chrono::minutes(30));
  EXPECT_FALSE(residents_.expire(10));
  EXPECT_EQ(residents_.count(), 0U);
  EXPECT_EQ(used(), 0U);
}

TEST_F(ResidentsTest, RoomIsMadeAheadOfNeed) {
  int pressed = 0;
  residents_.set_pressed([&] { ++pressed; });
  Budget::Amount spare;
  for (uint64_t node = 1; spare.is_zero(); ++node) {
    ASSERT_TRUE(reserve(node, 1));
    spare = budget_.excess({}, Residents::kSparePerMille);
    EXPECT_EQ(pressed, spare.is_zero() ? 0 : 1) << node;
  }
  const uint64_t before = used();
  EXPECT_TRUE(residents_.relieve(1));
  EXPECT_EQ(used(), before - 1);
  EXPECT_FALSE(residents_.relieve(100));
  EXPECT_TRUE(budget_.excess({}, Residents::kSpareGoalPerMille).is_zero());
  EXPECT_EQ(evicted_.front(), 1U);
}

TEST_F(ResidentsTest, TheJournalsGrowthMakesObjectsGo) {
  for (uint64_t node = 1; node <= 5; ++node) ASSERT_TRUE(reserve(node, 20));
  overhead_.journal_bytes = 30 * kUnit;
  EXPECT_FALSE(residents_.trim(100));
  EXPECT_THAT(evicted_, ElementsAre(1, 2));
  EXPECT_EQ(used(), 90U);
  overhead_.journal_bytes = 100 * kUnit;
  EXPECT_FALSE(reserve(6, 1));
}

TEST_F(ResidentsTest, TellsWhenThereWasNoRoom) {
  int refused = 0;
  residents_.set_refused([&] { ++refused; });
  ASSERT_TRUE(reserve(1, 100));
  EXPECT_EQ(refused, 0);
  busy_ = {NodeId{1}};
  EXPECT_FALSE(reserve(2, 10));
  EXPECT_EQ(refused, 1);
}

TEST_F(ResidentsTest, RefusesWhenNothingMayGo) {
  ASSERT_TRUE(reserve(1, 100));
  busy_ = {NodeId{1}};
  EXPECT_FALSE(reserve(2, 1));
  EXPECT_EQ(used(), 100U);
  EXPECT_EQ(residents_.count(), 1U);
  busy_.clear();
  EXPECT_TRUE(reserve(2, 1));
}

TEST_F(ResidentsTest, WhatNeverFitsEvictsNobody) {
  ASSERT_TRUE(reserve(1, 60));
  EXPECT_FALSE(reserve(2, 101));
  EXPECT_THAT(evicted_, IsEmpty());
}

TEST_F(ResidentsTest, WhatEarlierRunsCachedIsOlderThanWhatIsUsedNow) {
  ASSERT_TRUE(reserve(9, 10));
  for (uint64_t node = 1; node <= 3; ++node) residents_.introduce(NodeId{node}, 20 * kUnit, 0);
  residents_.introduce(NodeId{9}, 50 * kUnit, 0);  // known already
  residents_.touch(NodeId{2});                     // before the census ended
  residents_.end_census();
  EXPECT_EQ(used(), 70U);
  EXPECT_TRUE(reserve(10, 80));
  EXPECT_THAT(evicted_, ElementsAre(1, 3, 9));
}

TEST_F(ResidentsTest, ASmallerLimitHoldsAfterTheCensus) {
  for (uint64_t node = 1; node <= 10; ++node) residents_.introduce(NodeId{node}, 30 * kUnit, 0);
  residents_.end_census();
  EXPECT_TRUE(residents_.trim(2));
  EXPECT_THAT(evicted_, ElementsAre(1, 2));
  EXPECT_FALSE(residents_.trim(100));
  EXPECT_LE(residents_.used_bytes(), residents_.limit_bytes());
  EXPECT_THAT(evicted_, ElementsAre(1, 2, 3, 4, 5, 6, 7));
}

// A catalog with an object of 30 units for each node, used at that time.
class CensusTest : public ResidentsTest {
 protected:
  static constexpr size_t kRecordsPerStep = 2;

  void record(const std::map<uint64_t, int64_t>& used_at) {
    catalog::Batch batch;
    for (const auto& [node, at] : used_at) {
      catalog::NodeRecord record;
      record.object = ObjectId{node};
      record.object_bytes = 30 * kUnit;
      record.used_at_ns = at;
      batch.put(NodeId{node}, record);
    }
    batch.put(NodeId{100}, catalog::NodeRecord{});  // has no object
    ASSERT_TRUE(catalog_->apply(batch));
  }

  std::unique_ptr<journal::Store> store_ =
      std::move(*journal::Store::open(disk_, "", {}, registry_, clock_));
  std::unique_ptr<catalog::Catalog> catalog_ = std::move(*catalog::Catalog::open(*store_));
  const Rules rules_;
};

TEST_F(CensusTest, FindsObjectsInOrderOfLastUse) {
  record({{2, 50}, {3, 10}, {4, 40}, {5, 30}, {6, 20}});
  Census census(*catalog_, residents_, rules_);
  while (census.step()) continue;
  EXPECT_THAT(evicted_, ElementsAre(3, 6));
  EXPECT_EQ(used(), 90U);
  EXPECT_TRUE(reserve(8, 100));
  EXPECT_THAT(evicted_, ElementsAre(3, 6, 5, 4, 2));
}

TEST_F(CensusTest, TheOrderDoesNotDependOnTheSteps) {
  record({{2, 50}, {3, 10}, {4, 40}, {5, 30}, {6, 20}});
  Census census(*catalog_, residents_, rules_, kRecordsPerStep);
  int steps = 1;
  EXPECT_EQ(residents_.count(), 0U);
  while (census.step()) ++steps;
  EXPECT_GE(steps, 5);
  EXPECT_FALSE(census.step());  // it stays over
  EXPECT_TRUE(reserve(8, 100));
  EXPECT_THAT(evicted_, ElementsAre(3, 6, 5, 4, 2));
}

// Between the reading of a record and its turn its object may go, and come.
TEST_F(CensusTest, WhatGoesMeanwhileIsNotCounted) {
  record({{2, 10}, {3, 20}, {4, 30}});
  residents_.expect({.bytes = 90 * kUnit, .objects = 3});
  Census census(*catalog_, residents_, rules_, kRecordsPerStep);
  ASSERT_TRUE(census.step());
  residents_.meet(NodeId{2}, 30 * kUnit, 0);
  residents_.forget(NodeId{2});
  residents_.meet(NodeId{3}, 30 * kUnit, 0);
  residents_.forget(NodeId{3});
  ASSERT_TRUE(reserve(3, 10));
  while (census.step()) continue;
  EXPECT_EQ(residents_.bytes_of(NodeId{2}), 0U);
  EXPECT_EQ(residents_.bytes_of(NodeId{3}), 10 * kUnit);
  EXPECT_EQ(residents_.count(), 2U);
  EXPECT_EQ(used(), 40U);
  residents_.introduce(NodeId{2}, 30 * kUnit, 0);  // after the census nothing is remembered
  EXPECT_EQ(used(), 70U);
}

// What cannot be read may be there all the same.
TEST_F(CensusTest, WhatCannotBeReadIsExpectedStill) {
  record({{2, 10}, {3, 20}});
  ASSERT_TRUE(store_->close());
  store_.reset();
  store_ = std::move(*journal::Store::open(disk_, "", {}, registry_, clock_));
  catalog_ = std::move(*catalog::Catalog::open(*store_));
  residents_.expect({.bytes = 60 * kUnit, .objects = 2});
  disk_.inject({.operation = testing::SimOperation::kRead, .times = 1000});
  Census census(*catalog_, residents_, rules_);
  while (census.step()) continue;
  disk_.clear_faults();
  EXPECT_EQ(used(), 60U);
  EXPECT_FALSE(residents_.has_counted_all());
}

TEST(SinceMountTest, RemembersTheLastUsesWhenThereAreTooMany) {
  SinceMount since;
  constexpr uint64_t kNodes = 1000;
  for (size_t i = 0; i < 3 * SinceMount::kUsesMax; ++i) since.note_use(NodeId{i % kNodes});
  ASSERT_LE(since.uses().size(), SinceMount::kUsesMax);
  EXPECT_EQ(since.uses().back(), NodeId{(3 * SinceMount::kUsesMax - 1) % kNodes});
  const std::set<NodeId> known(since.uses().begin(), since.uses().end());
  EXPECT_EQ(known.size(), kNodes);
}

TEST(SinceMountTest, OfTooManyNodesTheLastAreKept) {
  SinceMount since;
  for (size_t i = 0; i <= SinceMount::kUsesMax; ++i) since.note_use(NodeId{i});
  EXPECT_EQ(since.uses().size(), SinceMount::kUsesMax / 2 + 1);
  EXPECT_EQ(since.uses().back(), NodeId{SinceMount::kUsesMax});
  EXPECT_EQ(since.uses().front(), NodeId{SinceMount::kUsesMax / 2});
}

// Many threads fill, use and empty: the limit holds at every moment and nothing is lost count of.
TEST(ResidentsThreads, TheLimitHoldsWhateverHappensAtOnce) {
  constexpr uint64_t kLimit = 1000 * kUnit;
  constexpr uint64_t kObjects = 30;
  Registry registry;
  ManualClock clock;
  testing::SimDisk disk;
  Budget budget(
      {.size_bytes = kLimit, .objects = kObjects}, disk, [] { return Overhead{}; }, registry,
      clock);
  Residents residents([] { return std::move(*evict::make_policy("lru")); }, budget, Nanos(0),
                      registry, clock);
  std::atomic<uint64_t> refusals{0};
  residents.set_evict([&](NodeId node, uint64_t) {
    if (node.value % 7 == 0) return false;
    residents.forget(node);
    return true;
  });
  std::atomic<bool> exceeded{false};
  std::vector<std::thread> threads;
  for (uint64_t t = 1; t <= 4; ++t)
    threads.emplace_back([&, t] {
      Random random(t);
      for (int i = 0; i < 3000; ++i) {
        const NodeId node{1 + random.below(40)};
        if (random.one_in(10))
          residents.forget(node);
        else if (random.one_in(4))
          residents.touch(node);
        else if (const uint64_t bytes = random.below(100) * kUnit; !residents.reserve(node, bytes))
          refusals.fetch_add(1);
        else if (random.one_in(3))
          residents.cancel(bytes);
        else
          residents.charge(node, bytes);
        if (residents.used_bytes() > kLimit || residents.count() > kObjects) exceeded = true;
      }
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_FALSE(exceeded);
  for (uint64_t node = 1; node <= 40; ++node) residents.forget(NodeId{node});
  EXPECT_EQ(residents.used_bytes(), 0U);
}

TEST(FetchCost, OnlyWhatIsFarFromUsualCounts) {
  using std::chrono::milliseconds;
  FetchCost cost;
  EXPECT_EQ(cost.of(milliseconds(3)), 0U);  // nothing to compare it with
  for (int i = 0; i < 100; ++i) EXPECT_EQ(cost.of(milliseconds(2 + i % 7)), 0U);
  const uint32_t slow = cost.of(milliseconds(500));  // about a hundred times as long
  EXPECT_GT(slow, 50 * evict::kUsualCostUs);
  EXPECT_LT(slow, 200 * evict::kUsualCostUs);
  EXPECT_EQ(cost.of(milliseconds(5)), 0U);  // one alone changes the average little
  const uint32_t quick = cost.of(std::chrono::microseconds(50));
  EXPECT_GT(quick, 0U);
  EXPECT_LT(quick, evict::kUsualCostUs / 20);
  EXPECT_EQ(cost.of(Nanos(0)), 1U);
  for (int i = 0; i < 200; ++i) cost.of(milliseconds(500));  // the source is slow now
  EXPECT_EQ(cost.of(milliseconds(500)), 0U);
}

// What is hard to get stays, of files used alike.
TEST(Residents, TheCostOfAFileCounts) {
  constexpr uint64_t kFiles = 100;
  testing::SimDisk disk;
  Registry registry;
  ManualClock clock;
  Budget budget({.size_bytes = kFiles * kUnit}, disk, [] { return Overhead{}; }, registry, clock);
  Residents residents([] { return std::move(*evict::make_policy("hybrid")); }, budget, Nanos(0),
                      registry, clock);
  residents.set_evict([&](NodeId node, uint64_t) {
    residents.forget(node);
    return true;
  });
  const auto cache = [&](uint64_t node, Nanos took) {
    ASSERT_TRUE(residents.reserve(NodeId{node}, kUnit, {}, took));
    residents.charge(NodeId{node}, kUnit);
  };
  const auto is_slow = [](uint64_t node) { return node % 10 == 5; };
  uint64_t node = 1;
  for (; node <= 10 * kFiles; ++node)
    cache(node, is_slow(node) ? std::chrono::seconds(1) : std::chrono::milliseconds(1));
  uint64_t slow = 0, quick = 0;
  for (uint64_t n = 1; n < node; ++n)
    if (residents.bytes_of(NodeId{n}) != 0) ++(is_slow(n) ? slow : quick);
  EXPECT_EQ(slow + quick, kFiles);
  EXPECT_GT(slow, 2 * kFiles / 10);  // a tenth of those that came
}

}  // namespace
}  // namespace larder::cache
