#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <list>
#include <string>
#include <vector>

#include "base/random.h"
#include "evict/lru.h"
#include "evict_testing.h"

namespace larder::evict {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

Lru filled(Slot count) {
  Lru lru;
  fill(lru, count);
  return lru;
}

TEST(Lru, EvictsInOrderOfInsertionWithoutHits) {
  Lru lru = filled(4);
  EXPECT_THAT(drain(lru), ElementsAre(0, 1, 2, 3));
}

TEST(Lru, AHitMakesASlotTheLastToGo) {
  Lru lru = filled(5);
  lru.hit(0);  // back
  lru.hit(2);  // middle
  lru.hit(2);  // front already
  EXPECT_THAT(drain(lru), ElementsAre(1, 3, 4, 0, 2));
}

TEST(Lru, VictimOnlyNames) {
  Lru lru = filled(2);
  const auto any = [](Slot) { return true; };
  EXPECT_EQ(lru.victim(any), Slot{0});
  EXPECT_EQ(lru.victim(any), Slot{0});
}

TEST(Lru, PassesOverWhatMayNotGo) {
  Lru lru = filled(5);
  const auto odd = [](Slot slot) { return slot % 2 == 1; };
  EXPECT_THAT(drain(lru, odd), ElementsAre(1, 3));
  EXPECT_EQ(lru.victim(odd), std::nullopt);
  EXPECT_THAT(drain(lru), ElementsAre(0, 2, 4));
}

TEST(Lru, ErasedSlotsComeBackAsNew) {
  Lru lru = filled(3);
  lru.erase(0);
  lru.erase(2);
  lru.insert(2, Item{});
  lru.insert(0, Item{});
  EXPECT_THAT(drain(lru), ElementsAre(1, 2, 0));
  EXPECT_THAT(drain(lru), IsEmpty());
}

TEST(Lru, GrowsWithItsContent) {
  Lru lru = filled(2);
  lru.reserve(4);
  lru.insert(3, Item{});
  lru.insert(2, Item{});
  EXPECT_THAT(drain(lru), ElementsAre(0, 1, 3, 2));
}

TEST(LruDeathTest, RefusesMisuse) {
  Lru lru = filled(1);
  EXPECT_DEATH(lru.insert(0, Item{}), "kAbsent");
  EXPECT_DEATH(lru.insert(1, Item{}), "size");
  lru.erase(0);
  EXPECT_DEATH(lru.erase(0), "kAbsent");
  EXPECT_DEATH(lru.hit(0), "kAbsent");
}

// Against the obvious implementation.
TEST(Lru, AgreesWithAModel) {
  constexpr Slot kSlots = 50;
  Lru lru;
  lru.reserve(kSlots);
  std::list<Slot> model;  // least recently used first
  Random random(1);
  for (int i = 0; i < 20'000; ++i) {
    const auto slot = static_cast<Slot>(random.below(kSlots));
    const auto at = std::ranges::find(model, slot);
    if (at == model.end()) {
      lru.insert(slot, Item{});
      model.push_back(slot);
    } else if (random.one_in(3)) {
      lru.erase(slot);
      model.erase(at);
    } else {
      lru.hit(slot);
      model.splice(model.end(), model, at);
    }
    const auto pinned = [&](Slot candidate) { return candidate % 3 != 0; };
    const auto expected = std::ranges::find_if(model, pinned);
    const auto victim = lru.victim(pinned);
    ASSERT_EQ(victim.has_value(), expected != model.end());
    if (victim) {
      ASSERT_EQ(*victim, *expected);
    }
  }
  EXPECT_EQ(drain(lru), std::vector<Slot>(model.begin(), model.end()));
}

}  // namespace
}  // namespace larder::evict
