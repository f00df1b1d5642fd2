#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <list>
#include <map>
#include <optional>
#include <set>

#include "evict/duel_odds.h"
#include "evict/frequency_sketch.h"
#include "evict/hybrid.h"
#include "evict/miniature.h"
#include "evict/segments.h"
#include "evict_testing.h"

namespace larder::evict {
namespace {

using testing::ElementsAre;

uint32_t hash_of(uint64_t key) {
  return static_cast<uint32_t>(mix64(key));
}

TEST(FrequencySketch, CountsUpToFifteen) {
  FrequencySketch sketch;
  sketch.reserve(1000);
  for (uint64_t key = 0; key < 20; ++key)
    for (uint64_t use = 0; use < key; ++use) sketch.add(hash_of(key));
  for (unsigned key = 0; key < 20; ++key)
    EXPECT_EQ(sketch.estimate(hash_of(key)), std::min(key, 15U)) << key;
  EXPECT_EQ(sketch.estimate(hash_of(1000)), 0U);
}

TEST(FrequencySketch, SaysNeverTooLittleAndRarelyTooMuch) {
  constexpr uint64_t kKeys = 1000;
  FrequencySketch sketch;
  sketch.reserve(kKeys);
  std::vector<unsigned> uses(kKeys, 0);
  Random random(1);
  for (int i = 0; i < 5'000; ++i) {
    const uint64_t key = random.below(kKeys);
    ++uses[key];
    sketch.add(hash_of(key));
  }
  int too_much = 0;
  for (uint64_t key = 0; key < kKeys; ++key) {
    const unsigned estimate = sketch.estimate(hash_of(key));
    ASSERT_GE(estimate, std::min(uses[key], 15U));
    too_much += estimate > uses[key] ? 1 : 0;
  }
  EXPECT_LT(too_much, 50);
}

TEST(FrequencySketch, WhatIsNotUsedAnyMoreFades) {
  FrequencySketch sketch;
  sketch.reserve(64);
  for (int i = 0; i < 15; ++i) sketch.add(hash_of(0));
  ASSERT_EQ(sketch.estimate(hash_of(0)), 15U);
  for (uint64_t i = 0; i < 20'000; ++i) sketch.add(hash_of(1 + i % 64));
  EXPECT_LT(sketch.estimate(hash_of(0)), 15U);
}

TEST(FrequencySketch, GrowingForgetsNothing) {
  FrequencySketch sketch;
  sketch.reserve(8);
  for (int i = 0; i < 9; ++i) sketch.add(hash_of(3));
  for (size_t items = 9; items < 1'000'000; items += 1 + items / 50) {
    sketch.reserve(items);
    ASSERT_GE(sketch.estimate(hash_of(3)), 9U) << items;
  }
}

TEST(FrequencySketch, CountsWithAnyNumberOfLines) {
  for (const size_t items : {1, 40, 1'000, 3'000, 100'000}) {
    FrequencySketch sketch;
    sketch.reserve(items);
    for (uint64_t key = 0; key < 5; ++key) sketch.add(hash_of(key));
    for (uint64_t key = 0; key < 5; ++key) EXPECT_GE(sketch.estimate(hash_of(key)), 1U) << items;
  }
}

TEST(DuelOdds, BeginsWithTheFrequenciesAndPrefersWhatIsThere) {
  const DuelOdds odds;
  EXPECT_GT(odds.of(3, 1), 1);
  EXPECT_LT(odds.of(1, 3), 1);
  EXPECT_LT(odds.of(2, 2), 1);
  EXPECT_NEAR(odds.of(3, 1), 3, 1e-9);
}

TEST(DuelOdds, LearnsWhoComesBackFirst) {
  DuelOdds odds;
  for (uint32_t i = 1; i < 100; ++i) {
    odds.observe(2 * i, 1, 2 * i + 1, 4, 1000);
    odds.used(2 * i);      // the candidate
    odds.used(2 * i + 1);  // too late
  }
  EXPECT_GT(odds.of(1, 4), 1);
  EXPECT_LT(odds.of(1, 6), 1) << "other frequencies are another matter";
}

TEST(DuelOdds, AnOutcomeAfterTheTimeDoesNotCount) {
  DuelOdds odds;
  const double before = odds.of(1, 4);
  odds.observe(2, 1, 3, 4, 10);
  for (uint32_t i = 0; i < 20; ++i) odds.used(1000);
  odds.used(2);
  EXPECT_LE(odds.of(1, 4), before);
}

TEST(DuelOdds, ObservesNoMoreThanItHasRoomFor) {
  DuelOdds odds;
  for (uint32_t i = 1; i < 100'000; ++i)
    odds.observe(mix64(i) & UINT32_MAX, 1, mix64(~i) & UINT32_MAX, 1, 1 << 20);
  for (uint32_t i = 1; i < 100'000; ++i) odds.used(mix64(i) & UINT32_MAX);
  EXPECT_GT(odds.of(1, 1), 1);
}

class SegmentsTest : public testing::Test {
 protected:
  SegmentsTest() {
    sketch_.reserve(1000);
    segments_.reserve(1000);
  }
  void insert(Slot slot, uint64_t weight = 1, uint32_t cost_us = 0) {
    segments_.insert(slot, hash_of(slot), weight, cost_us);
    sketch_.add(hash_of(slot));
  }
  void hit(Slot slot) {
    segments_.hit(slot);
    sketch_.add(hash_of(slot));
  }
  std::optional<Slot> victim(Preference preference, SlotFilter evictable) {
    segments_.prefer(preference);
    return segments_.victim(false, evictable);
  }
  std::optional<Slot> evict(Preference preference) {
    const auto victim = this->victim(preference, any_slot);
    if (victim) segments_.erase(*victim);
    return victim;
  }
  std::vector<Slot> evict_all(Preference preference) {
    std::vector<Slot> order;
    while (const auto slot = evict(preference)) order.push_back(*slot);
    return order;
  }

  FrequencySketch sketch_;
  DuelOdds odds_;
  Segments segments_{sketch_, odds_};
};

TEST_F(SegmentsTest, ByFrequencyANewcomerGoesBeforeWhatWasUsed) {
  for (Slot slot = 0; slot < 4; ++slot) insert(slot);
  hit(0);
  insert(4);  // 3 leaves the window
  EXPECT_EQ(evict(Preference::kFrequency), Slot{3});
  insert(5);  // 4 leaves the window
  EXPECT_EQ(evict(Preference::kFrequency), Slot{4});
  EXPECT_THAT(evict_all(Preference::kFrequency), ElementsAre(1, 2, 0, 5));
}

TEST_F(SegmentsTest, ByFrequencyWhatWasAskedForOftenComesIn) {
  for (Slot slot = 0; slot < 4; ++slot) insert(slot);
  for (int i = 0; i < 3; ++i) sketch_.add(hash_of(4));  // before it was evicted
  insert(4);
  insert(5);
  EXPECT_EQ(evict(Preference::kFrequency), Slot{0});
}

TEST_F(SegmentsTest, ByFrequencyTheLightAndTheDearStay) {
  insert(0, 1000, 100);
  insert(1, 1000, 100);
  insert(2, 10, 100);  // a hundredth of the room
  insert(3, 10, 100);
  EXPECT_EQ(evict(Preference::kFrequency), Slot{0});
  insert(4, 1000, 100'000);  // 3 joins the others; this one leaves the window next
  insert(5, 10, 100);
  EXPECT_EQ(evict(Preference::kFrequency), Slot{1});
}

TEST_F(SegmentsTest, ByRecencyTheLastUsedStay) {
  for (Slot slot = 0; slot < 6; ++slot) insert(slot);
  hit(1);
  EXPECT_THAT(evict_all(Preference::kRecency), ElementsAre(0, 2, 3, 4, 1, 5));
}

TEST_F(SegmentsTest, WhatTheFilterKeepsIsPassedOver) {
  for (Slot slot = 0; slot < 5; ++slot) insert(slot);
  const auto odd = [](Slot slot) { return slot % 2 == 1; };
  const auto none = [](Slot) { return false; };
  EXPECT_EQ(victim(Preference::kFrequency, odd), Slot{3}) << "the candidate";
  EXPECT_EQ(victim(Preference::kFrequency, none), std::nullopt);
  EXPECT_EQ(victim(Preference::kRecency, odd), Slot{1});
  EXPECT_EQ(victim(Preference::kRecency, none), std::nullopt);
}

TEST_F(SegmentsTest, WeightsOfAnySizeAddUp) {
  insert(0, 0);
  insert(1, UINT64_MAX >> 8);
  insert(2, 33);
  segments_.resize(0, 12);
  EXPECT_EQ(segments_.weight_of(0), 12U);
  EXPECT_EQ(segments_.weight_of(2), 32U) << "rounded";
  EXPECT_EQ(segments_.weight(), segments_.weight_of(1) + 44);
  segments_.resize(1, 0);
  EXPECT_EQ(segments_.weight(), 44U);
  EXPECT_EQ(evict_all(Preference::kFrequency).size(), 3U);
  EXPECT_EQ(segments_.weight(), 0U);
}

// The lists written down as lists, with items of weight 1.
class SegmentsModel {
 public:
  SegmentsModel(const FrequencySketch& sketch, const DuelOdds& odds)
      : sketch_(sketch), odds_(odds) {}

  void insert(Slot slot) {
    admit_all();
    window_.push_front(slot);
    settle();
  }
  void hit(Slot slot) {
    for (auto* list : {&window_, &protected_}) {
      const auto place = std::ranges::find(*list, slot);
      if (place == list->end()) continue;
      list->splice(list->begin(), *list, place);
      return;
    }
    erase(slot);
    protected_.push_front(slot);
    settle();
  }
  void erase(Slot slot) {
    for (auto* list : {&window_, &candidates_, &probation_, &protected_}) list->remove(slot);
  }
  bool has(Slot slot) const {
    return std::ranges::any_of(
        std::array{&window_, &candidates_, &probation_, &protected_},
        [&](const auto* list) { return std::ranges::find(*list, slot) != list->end(); });
  }
  std::optional<Slot> victim() {
    while (!candidates_.empty()) {
      const Slot candidate = candidates_.back();
      const auto resident = main_end();
      if (!resident || odds_.of(uses(candidate), uses(*resident)) <= 1) return candidate;
      candidates_.pop_back();
      probation_.push_front(candidate);
      return resident;
    }
    if (const auto resident = main_end()) return resident;
    return window_.empty() ? std::nullopt : std::optional(window_.back());
  }

 private:
  unsigned uses(Slot slot) const { return sketch_.estimate(hash_of(slot)); }
  std::optional<Slot> main_end() const {
    if (!probation_.empty()) return probation_.back();
    if (!protected_.empty()) return protected_.back();
    return std::nullopt;
  }
  void admit_all() {
    while (!candidates_.empty()) move_back(candidates_, probation_);
  }
  void settle() {
    const size_t all = window_.size() + candidates_.size() + probation_.size() + protected_.size();
    while (window_.size() > 1 && window_.size() > all / 100) move_back(window_, candidates_);
    while (protected_.size() > (all - window_.size()) * 8 / 10) move_back(protected_, probation_);
  }
  static void move_back(std::list<Slot>& from, std::list<Slot>& to) {
    to.splice(to.begin(), from, std::prev(from.end()));
  }

  const FrequencySketch& sketch_;
  const DuelOdds& odds_;
  std::list<Slot> window_, candidates_, probation_, protected_;  // used last first
};

TEST_F(SegmentsTest, AgreesWithAModel) {
  constexpr Slot kSlots = 300;
  SegmentsModel model(sketch_, odds_);
  Random random(1);
  for (int i = 0; i < 50'000; ++i) {
    const auto slot = static_cast<Slot>(random.below(1 + random.below(kSlots)));
    if (!model.has(slot)) {
      insert(slot);
      model.insert(slot);
    } else if (random.one_in(100)) {
      segments_.erase(slot);
      model.erase(slot);
    } else {
      hit(slot);
      model.hit(slot);
    }
    if (segments_.count() < 150) continue;
    const auto victim = segments_.victim(false, any_slot);
    ASSERT_EQ(victim, model.victim()) << "step " << i;
    segments_.erase(*victim);
    model.erase(*victim);
  }
}

TEST(Miniature, KeepsWhatItHasRoomFor) {
  FrequencySketch sketch;
  sketch.reserve(1000);
  DuelOdds odds;
  Miniature recency(Preference::kRecency, sketch, odds);
  for (uint32_t key = 1; key <= 10; ++key) EXPECT_FALSE(recency.use(hash_of(key), 1, 0, 4));
  for (uint32_t key = 10; key > 6; --key) EXPECT_TRUE(recency.use(hash_of(key), 1, 0, 4));
  EXPECT_FALSE(recency.use(hash_of(6), 1, 0, 4));
}

TEST(Miniature, IsFullOnceSomethingHadToGo) {
  FrequencySketch sketch;
  sketch.reserve(1000);
  DuelOdds odds;
  Miniature recency(Preference::kRecency, sketch, odds);
  for (uint32_t key = 1; key <= 4; ++key) recency.use(hash_of(key), 1, 0, 4);
  EXPECT_FALSE(recency.is_full());
  recency.use(hash_of(5), 1, 0, 4);
  EXPECT_TRUE(recency.is_full());
  recency.expect_more_room();
  recency.use(hash_of(6), 1, 0, 6);
  EXPECT_FALSE(recency.is_full());
}

TEST(Miniature, HoldsABoundedNumberOfKeysHoweverLight) {
  FrequencySketch sketch;
  sketch.reserve(1000);
  DuelOdds odds;
  Miniature recency(Preference::kRecency, sketch, odds);
  for (uint32_t key = 0; key < 10'000; ++key) recency.use(hash_of(key), 0, 0, 1 << 20);
  uint32_t known = 0;
  for (uint32_t key = 10'000; key-- > 10'000 - Miniature::kKeysMax;)
    known += recency.use(hash_of(key), 0, 0, 1 << 20) ? 1 : 0;
  EXPECT_EQ(known, Miniature::kKeysMax);
}

TEST(Miniature, NarrowingForgetsTheOthers) {
  FrequencySketch sketch;
  sketch.reserve(1000);
  DuelOdds odds;
  Miniature recency(Preference::kRecency, sketch, odds);
  recency.use(0b100, 1, 0, 100);
  recency.use(0b1000, 1, 0, 100);
  recency.narrow(3);
  EXPECT_TRUE(recency.use(0b1000, 1, 0, 100));
  EXPECT_FALSE(recency.use(0b100, 1, 0, 100));
}

TEST(Hybrid, AScanDoesNotSweepOutWhatIsUsed) {
  constexpr Slot kItems = 100;
  Hybrid hybrid;
  fill(hybrid, kItems);
  for (int round = 0; round < 3; ++round)
    for (Slot slot = 0; slot < kItems; ++slot) hybrid.hit(slot);
  std::set<Slot> swept;
  for (uint64_t key = kItems; key < 10 * kItems; ++key) {
    const auto victim = hybrid.victim(any_slot);
    ASSERT_TRUE(victim);
    swept.insert(*victim);
    hybrid.erase(*victim);
    hybrid.insert(*victim, {.key_hash = mix64(key), .weight_bytes = 1});
  }
  EXPECT_LE(swept.size(), 5u);
}

TEST(Hybrid, CostsEighteenBytesASlotAndAConstant) {
  Hybrid hybrid;
  for (Slot slots = 1; slots < 3'000'000; slots += 1 + slots / 7) {
    hybrid.reserve(slots);
    // A tenth of a byte is for the tables of pages.
    ASSERT_LE(hybrid.size_bytes(), size_t{slots} * 181 / 10 + (140 << 10)) << slots;
  }
}

TEST(Hybrid, SlotsComeBackAndAllGo) {
  Hybrid hybrid;
  hybrid.reserve(50);
  std::map<Slot, bool> present;
  Random random(3);
  for (int i = 0; i < 30'000; ++i) {
    const auto slot = static_cast<Slot>(random.below(50));
    if (!present[slot]) {
      hybrid.insert(slot, {.key_hash = random.next(),
                           .weight_bytes = random.below(1 << 20),
                           .cost_us = static_cast<uint32_t>(random.below(1 << 20))});
    } else if (random.one_in(2)) {
      hybrid.hit(slot);
      hybrid.resize(slot, random.below(1 << 20));
      continue;
    } else {
      hybrid.erase(slot);
    }
    present[slot] = !present[slot];
    const uint64_t kept = random.below(3);
    const auto may_go = [&](Slot candidate) { return candidate % 3 != kept; };
    const bool some = std::ranges::any_of(
        present, [&](const auto& entry) { return entry.second && may_go(entry.first); });
    const auto victim = hybrid.victim(may_go);
    ASSERT_EQ(victim.has_value(), some);
    if (!victim) continue;
    ASSERT_TRUE(present[*victim] && may_go(*victim));
    hybrid.erase(*victim);
    present[*victim] = false;
  }
  const auto left = std::ranges::count_if(present, [](const auto& entry) { return entry.second; });
  EXPECT_EQ(drain(hybrid).size(), static_cast<size_t>(left));
}

TEST(HybridDeathTest, RefusesMisuse) {
  Hybrid hybrid;
  fill(hybrid, 1);
  EXPECT_DEATH(hybrid.insert(0, Item{}), "contains");
  EXPECT_DEATH(hybrid.insert(1, Item{}), "size");
  hybrid.erase(0);
  EXPECT_DEATH(hybrid.erase(0), "contains");
  EXPECT_DEATH(hybrid.hit(0), "contains");
}

}  // namespace
}  // namespace larder::evict
