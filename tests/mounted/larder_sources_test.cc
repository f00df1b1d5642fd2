// What holds over each kind of source: the local disk, one whose inode numbers are not stable, and
// sshfs, whose server others change.
#include <filesystem>

#include "sources_fixture.h"

namespace larder::testing_support {
namespace {

TEST_P(OverSources, AFileThatWasReplacedIsNewAtTheNextOpen) {
  const std::string old_data = pattern(300'000, 1), new_data = pattern(300'001, 2);
  put("file", old_data);
  ASSERT_TRUE(mount());
  EXPECT_EQ(read_file(at("file")), (FileContent{0, old_data}));
  replace("file", new_data);
  outlive_attr_ttl();
  EXPECT_EQ(read_file(at("file")), (FileContent{0, new_data}));
}

TEST_P(OverSources, AFileThatGrewOrShrankIsWholeAtTheNextOpen) {
  std::string data = pattern(10'000, 1);
  put("file", data);
  ASSERT_TRUE(mount());
  EXPECT_EQ(read_file(at("file")), (FileContent{0, data}));
  data += "more";
  grow("file", "more");
  outlive_attr_ttl();
  EXPECT_EQ(read_file(at("file")), (FileContent{0, data}));
  data.resize(100);
  shrink("file", 100);
  outlive_attr_ttl();
  EXPECT_EQ(read_file(at("file")), (FileContent{0, data}));
  EXPECT_EQ(std::filesystem::file_size(at("file")), 100U);
}

TEST_P(OverSources, WhatIsWrittenOnTheMountIsBehindTheSource) {
  ASSERT_TRUE(mount());
  const std::string data = pattern(200'000, 3);
  ASSERT_EQ(write_file(at("file"), data), 0);
  EXPECT_EQ(read_file(real("file")), (FileContent{0, data}));
}

INSTANTIATE_TEST_SUITE_P(Sources, OverSources, all_sources(), source_name);

}  // namespace
}  // namespace larder::testing_support
