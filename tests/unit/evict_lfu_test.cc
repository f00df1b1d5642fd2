#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <vector>

#include "evict/lfu.h"
#include "evict_testing.h"

namespace larder::evict {
namespace {

using testing::ElementsAre;

void hit(Policy& policy, Slot slot, int times) {
  for (int i = 0; i < times; ++i) policy.hit(slot);
}

TEST(Lfu, EvictsByNumberOfUsesThenByRecency) {
  Lfu lfu;
  fill(lfu, 6);
  hit(lfu, 0, 3);
  hit(lfu, 4, 1);
  hit(lfu, 2, 1);
  EXPECT_THAT(drain(lfu), ElementsAre(1, 3, 5, 4, 2, 0));
}

TEST(Lfu, WhatWasUsedOftenLongAgoIsOvertaken) {
  Lfu lfu;
  fill(lfu, 2);
  hit(lfu, 0, 4);  // priority 5
  // Each newcomer is used once more and evicted; the age rises with them.
  std::vector<Slot> gone;
  for (int i = 0; i < 5; ++i) {
    const auto victim = lfu.victim(any_slot);
    ASSERT_TRUE(victim);
    gone.push_back(*victim);
    lfu.erase(*victim);
    lfu.insert(*victim, Item{});
    lfu.hit(*victim);
  }
  // Priorities of slot 1: 1, then 3, 5 (a tie, slot 0 is older), then slot 0 is gone.
  EXPECT_THAT(gone, ElementsAre(1, 1, 0, 1, 0));
}

TEST(Lfu, UsesCountNoFurtherThan255) {
  Lfu lfu;
  fill(lfu, 2);
  hit(lfu, 0, 300);
  hit(lfu, 1, 254);
  EXPECT_THAT(drain(lfu), ElementsAre(0, 1));  // equal: the one used longest ago
}

TEST(Lfu, WhatTheFilterKeepsStaysInOrder) {
  Lfu lfu;
  fill(lfu, 4);
  hit(lfu, 1, 1);
  const auto odd = [](Slot slot) { return slot % 2 == 1; };
  EXPECT_THAT(drain(lfu, odd), ElementsAre(3, 1));
  const auto none = [](Slot) { return false; };
  EXPECT_EQ(lfu.victim(none), std::nullopt);
  lfu.insert(1, Item{});  // no older than what was passed over
  EXPECT_THAT(drain(lfu), ElementsAre(0, 2, 1));
}

TEST(Lfu, ErasingWhatWasNotEvictedDoesNotAge) {
  Lfu lfu;
  fill(lfu, 3);
  hit(lfu, 0, 9);
  lfu.erase(0);
  lfu.insert(0, Item{});
  EXPECT_THAT(drain(lfu), ElementsAre(1, 2, 0));
}

TEST(LfuDeathTest, RefusesMisuse) {
  Lfu lfu;
  fill(lfu, 1);
  EXPECT_DEATH(lfu.insert(0, Item{}), "kAbsent");
  EXPECT_DEATH(lfu.insert(1, Item{}), "size");
  lfu.erase(0);
  EXPECT_DEATH(lfu.erase(0), "kAbsent");
  EXPECT_DEATH(lfu.hit(0), "kAbsent");
}

// Against the rule as it is written, in whole numbers.
class LfuModel {
 public:
  void insert(Slot slot) { items_.push_back({slot, 1, age_ + 1, ++clock_}); }
  void hit(Slot slot) {
    Entry& item = at(slot);
    item.uses = std::min<uint64_t>(item.uses + 1, 255);
    item.priority = age_ + item.uses;
    item.used = ++clock_;
  }
  void erase(Slot slot) {
    if (slot == named_) age_ = std::max(age_, std::min(at(slot).priority, lowest()));
    if (slot == named_) named_.reset();
    std::erase_if(items_, [&](const Entry& item) { return item.slot == slot; });
  }
  bool has(Slot slot) const {
    return std::ranges::find(items_, slot, &Entry::slot) != items_.end();
  }
  template <class Filter>
  std::optional<Slot> victim(Filter evictable) {
    const Entry* best = nullptr;
    for (const Entry& item : items_)
      if (evictable(item.slot) && (best == nullptr || item < *best)) best = &item;
    if (best == nullptr) return std::nullopt;
    return named_ = best->slot;
  }

 private:
  struct Entry {
    Slot slot;
    uint64_t uses, priority, used;
    bool operator<(const Entry& other) const {
      return priority != other.priority ? priority < other.priority : used < other.used;
    }
  };
  Entry& at(Slot slot) { return *std::ranges::find(items_, slot, &Entry::slot); }
  uint64_t lowest() const { return std::ranges::min(items_, {}, &Entry::priority).priority; }
  std::vector<Entry> items_;
  uint64_t age_ = 0, clock_ = 0;
  std::optional<Slot> named_;
};

TEST(Lfu, AgreesWithAModel) {
  constexpr Slot kSlots = 40;
  Lfu lfu;
  lfu.reserve(kSlots);
  LfuModel model;
  Random random(1);
  for (int i = 0; i < 50'000; ++i) {
    const auto slot = static_cast<Slot>(random.below(kSlots));
    if (!model.has(slot)) {
      lfu.insert(slot, Item{});
      model.insert(slot);
    } else if (random.one_in(50)) {
      lfu.erase(slot);
      model.erase(slot);
    } else {
      for (uint64_t n = random.one_in(100) ? 300 : 1; n > 0; --n) {
        lfu.hit(slot);
        model.hit(slot);
      }
    }
    if (!random.one_in(4)) continue;
    const uint64_t kept = random.below(4);  // often nothing
    const auto may_go = [&](Slot candidate) { return kept == 0 || candidate % 4 != kept; };
    const auto victim = lfu.victim(may_go);
    ASSERT_EQ(victim, model.victim(may_go)) << "step " << i;
    if (victim && random.one_in(2)) {
      lfu.erase(*victim);
      model.erase(*victim);
    }
  }
}

}  // namespace
}  // namespace larder::evict
