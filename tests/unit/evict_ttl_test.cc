#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <list>
#include <map>
#include <optional>

#include "evict/registry.h"
#include "evict/ttl.h"
#include "evict_testing.h"

namespace larder::evict {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

void insert(Ttl& ttl, Slot slot, uint32_t expires_s) {
  ttl.insert(slot, {.expires_s = expires_s});
}

TEST(Ttl, NearestExpiryFirstAndWhatNeverExpiresLastByRecency) {
  Ttl ttl;
  ttl.reserve(6);
  insert(ttl, 0, 0);
  insert(ttl, 1, 30);
  insert(ttl, 2, 10);
  insert(ttl, 3, 0);
  insert(ttl, 4, UINT32_MAX);
  insert(ttl, 5, 20);
  ttl.hit(0);  // moves it behind 3
  ttl.hit(2);  // expiry does not move
  EXPECT_THAT(drain(ttl), ElementsAre(2, 5, 1, 4, 3, 0));
}

TEST(Ttl, OnlyWhatIsOverHasExpired) {
  Ttl ttl;
  ttl.reserve(3);
  insert(ttl, 0, 0);
  insert(ttl, 1, 11);
  insert(ttl, 2, 10);
  EXPECT_EQ(ttl.expired(9, any_slot), std::nullopt);
  EXPECT_EQ(ttl.expired(10, any_slot), Slot{2});
  EXPECT_EQ(ttl.expired(10, any_slot), Slot{2}) << "it only names";
  const auto not_2 = [](Slot slot) { return slot != 2; };
  EXPECT_EQ(ttl.expired(10, not_2), std::nullopt);
  EXPECT_EQ(ttl.expired(11, not_2), Slot{1});
  ttl.erase(2);
  ttl.erase(1);
  EXPECT_EQ(ttl.expired(UINT32_MAX, any_slot), std::nullopt);
}

TEST(Ttl, AllExpiredAtOnceGoOneByOneAlsoWhenTheClockStands) {
  Ttl ttl;
  ttl.reserve(100);
  for (Slot slot = 0; slot < 100; ++slot) insert(ttl, slot, 7);
  Slot gone = 0;
  while (const auto slot = ttl.expired(7, any_slot)) {
    ttl.erase(*slot);
    ++gone;
  }
  EXPECT_EQ(gone, Slot{100});
  EXPECT_THAT(drain(ttl), IsEmpty());
}

TEST(Ttl, ASlotComesBackAsTheOtherKind) {
  Ttl ttl;
  ttl.reserve(2);
  insert(ttl, 0, 5);
  insert(ttl, 1, 0);
  ttl.erase(0);
  ttl.erase(1);
  insert(ttl, 0, 0);
  insert(ttl, 1, 5);
  EXPECT_THAT(drain(ttl), ElementsAre(1, 0));
}

TEST(Ttl, NothingMayGo) {
  Ttl ttl;
  fill(ttl, 20);
  const auto none = [](Slot) { return false; };
  EXPECT_EQ(ttl.victim(none), std::nullopt);
  EXPECT_EQ(ttl.expired(UINT32_MAX, none), std::nullopt);
}

TEST(Expiring, AnyPolicyNamesWhatIsOver) {
  for (const std::string_view name : policy_names()) {
    const auto policy = *make_policy(name, Expiry::kHonoured);
    policy->reserve(3);
    policy->insert(0, {.key_hash = 1, .weight_bytes = 1});
    policy->insert(1, {.key_hash = 2, .weight_bytes = 1, .expires_s = 9});
    policy->insert(2, {.key_hash = 3, .weight_bytes = 1, .expires_s = 8});
    EXPECT_EQ(policy->expired(7, any_slot), std::nullopt) << name;
    EXPECT_EQ(policy->expired(8, any_slot), Slot{2}) << name;
    policy->resize(2, 5);
    policy->hit(2);
    policy->erase(2);
    EXPECT_EQ(policy->expired(9, any_slot), Slot{1}) << name;
    policy->insert(2, {.key_hash = 3, .weight_bytes = 1});
    EXPECT_EQ(drain(*policy).size(), 3u) << name;
    EXPECT_EQ(policy->expired(UINT32_MAX, any_slot), std::nullopt) << name;
  }
}

TEST(TtlDeathTest, RefusesMisuse) {
  Ttl ttl;
  fill(ttl, 1);
  EXPECT_DEATH(ttl.insert(0, Item{}), "contains");
  EXPECT_DEATH(ttl.insert(1, Item{}), "size");
  ttl.erase(0);
  EXPECT_DEATH(ttl.erase(0), "contains");
  EXPECT_DEATH(ttl.hit(0), "contains");
}

TEST(Ttl, AgreesWithAModel) {
  constexpr Slot kSlots = 60;
  Ttl ttl;
  ttl.reserve(kSlots);
  std::map<Slot, uint32_t> expiring;
  std::list<Slot> lasting;  // least recently used first
  Random random(1);
  for (int i = 0; i < 50'000; ++i) {
    const auto slot = static_cast<Slot>(random.below(kSlots));
    const auto at = std::ranges::find(lasting, slot);
    if (!expiring.contains(slot) && at == lasting.end()) {
      const auto expires_s = static_cast<uint32_t>(random.below(30));
      insert(ttl, slot, expires_s);
      if (expires_s > 0)
        expiring[slot] = expires_s;
      else
        lasting.push_back(slot);
    } else if (random.one_in(3)) {
      ttl.erase(slot);
      expiring.erase(slot);
      if (at != lasting.end()) lasting.erase(at);
    } else {
      ttl.hit(slot);
      if (at != lasting.end()) lasting.splice(lasting.end(), lasting, at);
    }
    const uint64_t kept = random.below(5);
    const auto may_go = [&](Slot candidate) { return candidate % 4 != kept; };
    std::optional<uint32_t> earliest;
    for (const auto& [candidate, expires_s] : expiring)
      if (may_go(candidate)) earliest = std::min(earliest.value_or(UINT32_MAX), expires_s);
    const auto now_s = static_cast<uint32_t>(random.below(30));
    const auto expired = ttl.expired(now_s, may_go);
    ASSERT_EQ(expired.has_value(), earliest.has_value() && *earliest <= now_s);
    const auto victim = ttl.victim(may_go);
    if (earliest) {
      ASSERT_TRUE(victim && may_go(*victim) && expiring.contains(*victim));
      ASSERT_EQ(expiring[*victim], *earliest);
      if (expired) {
        ASSERT_EQ(expiring[*expired], *earliest);
      }
    } else {
      const auto oldest = std::ranges::find_if(lasting, may_go);
      ASSERT_EQ(victim, oldest != lasting.end() ? std::optional(*oldest) : std::nullopt);
    }
  }
}

}  // namespace
}  // namespace larder::evict
