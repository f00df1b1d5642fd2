// The table of cached files, against a map.
#include "cache/resident_table.h"

#include <gtest/gtest.h>

#include <map>

#include "base/random.h"

namespace larder::cache {
namespace {

TEST(ResidentTable, IsAMap) {
  struct Expected {
    ResidentTable::Slot slot;
    uint64_t bytes = 0;
    Priority priority = Priority::kNormal;
  };
  ResidentTable table;
  std::map<uint64_t, Expected> model;
  Random random(1);
  for (int step = 0; step < 60'000; ++step) {
    // Grows at first, then shrinks again.
    const NodeId node{1 + random.below(6000) + (random.one_in(3) ? uint64_t{1} << 50 : 0)};
    const auto found = model.find(node.value);
    ASSERT_EQ(table.find(node).has_value(), found != model.end());
    if (found == model.end()) {
      if (step > 40'000 && random.below(10) != 0) continue;
      const auto priority = static_cast<Priority>(random.below(kPriorities));
      const auto slot = table.insert(node, priority);
      EXPECT_EQ(table.bytes(slot), 0U);
      model[node.value] = {slot, 0, priority};
      continue;
    }
    Expected& known = found->second;
    ASSERT_EQ(*table.find(node), known.slot);
    ASSERT_EQ(table.node(known.slot), node);
    ASSERT_EQ(table.bytes(known.slot), known.bytes);
    ASSERT_EQ(table.priority(known.slot), known.priority);
    switch (random.below(3)) {
      case 0:
        known.bytes = random.below(uint64_t{1} << 40) * ResidentTable::kUnitBytes >> 12 << 12;
        known.bytes = std::min(known.bytes, uint64_t{UINT32_MAX} * ResidentTable::kUnitBytes);
        table.set_bytes(known.slot, known.bytes);
        break;
      case 1:
        known.priority = static_cast<Priority>(random.below(kPriorities));
        table.set_priority(known.slot, known.priority);
        break;
      default:
        table.erase(known.slot);
        model.erase(found);
    }
    ASSERT_EQ(table.size(), model.size());
  }
  for (const auto& [node, known] : model) EXPECT_EQ(table.find(NodeId{node}), known.slot);
}

TEST(ResidentTable, SlotsAreDenseAndUsedAgain) {
  ResidentTable table;
  for (uint64_t node = 1; node <= 100; ++node)
    EXPECT_EQ(table.insert(NodeId{node}, Priority::kLow), node - 1);
  EXPECT_EQ(table.slot_limit(), 100U);
  table.erase(40);
  table.erase(7);
  EXPECT_EQ(table.insert(NodeId{500}, Priority::kLow), 7U);
  EXPECT_EQ(table.insert(NodeId{501}, Priority::kLow), 40U);
  EXPECT_EQ(table.slot_limit(), 100U);
}

TEST(ResidentTable, BytesAreRoundedUp) {
  ResidentTable table;
  const auto slot = table.insert(NodeId{1}, Priority::kLow);
  table.set_bytes(slot, 1);
  EXPECT_EQ(table.bytes(slot), ResidentTable::kUnitBytes);
}

TEST(ResidentTable, AFileCostsTwentyBytes) {
  ResidentTable table;
  constexpr uint64_t kFiles = 200'000;
  for (uint64_t node = 1; node <= kFiles; ++node) table.insert(NodeId{node}, Priority::kNormal);
  EXPECT_LE(table.size_bytes(), kFiles * 21);
}

}  // namespace
}  // namespace larder::cache
