#include "journal/lowest_addresses.h"

#include <gtest/gtest.h>

#include "base/random.h"

namespace larder::journal {
namespace {

TEST(LowestAddressesTest, AreTheSameAsSorted) {
  Random random(1);
  for (const size_t count : {1UL, 2UL, 7UL, 1000UL}) {
    for (const size_t of : {0UL, 1UL, 6UL, 7UL, 8UL, 13UL, 14UL, 15UL, 20'000UL}) {
      std::vector<uint64_t> all(of);
      for (size_t i = 0; i < of; ++i) all[i] = 10 * i;
      for (size_t i = of; i-- > 1;) std::swap(all[i], all[random.below(i + 1)]);
      LowestAddresses lowest(count);
      for (const uint64_t address : all) lowest.add(address);
      std::ranges::sort(all);
      all.resize(std::min(of, count));
      EXPECT_EQ(lowest.sorted(), all) << count << " of " << of;
    }
  }
}

}  // namespace
}  // namespace larder::journal
