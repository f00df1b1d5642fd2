#include "fs/open_numbers.h"

#include <gtest/gtest.h>

namespace larder::fs {
namespace {

TEST(OpenNumbersTest, FindsWhatIsOpen) {
  OpenNumbers numbers;
  EXPECT_EQ(numbers.node_of(7), std::nullopt);
  numbers.add(NodeId{1}, 7);
  numbers.add(NodeId{2}, 8);
  EXPECT_EQ(numbers.node_of(7), NodeId{1});
  EXPECT_EQ(numbers.node_of(8), NodeId{2});
  numbers.remove(NodeId{1});
  EXPECT_EQ(numbers.node_of(7), std::nullopt);
  EXPECT_EQ(numbers.node_of(8), NodeId{2});
}

TEST(OpenNumbersTest, WhatSaysNothingIsNotKept) {
  OpenNumbers numbers;
  numbers.add(NodeId{1}, 0);
  EXPECT_EQ(numbers.node_of(0), std::nullopt);
  numbers.remove(NodeId{1});
  numbers.remove(NodeId{2});  // never added
}

TEST(OpenNumbersTest, TheFirstOfANumberStaysUntilItGoes) {
  OpenNumbers numbers;
  numbers.add(NodeId{1}, 7);
  numbers.add(NodeId{2}, 7);
  EXPECT_EQ(numbers.node_of(7), NodeId{1});
  numbers.remove(NodeId{2});
  EXPECT_EQ(numbers.node_of(7), NodeId{1});
  numbers.remove(NodeId{1});
  EXPECT_EQ(numbers.node_of(7), std::nullopt);
}

}  // namespace
}  // namespace larder::fs
