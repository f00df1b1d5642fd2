// Files whose sizes are made up, and pages that a direct write may have left old.

#include "fs_fixture.h"

namespace larder::fs {
namespace {

using Which = testing::FakeSource::Which;

TEST_F(FsTest, AFileWithoutRoomThatEndsEarlyIsReadPastItsSize) {
  source_.put("enabled", std::string(4096, 'x'));
  source_.end_reads("enabled", 23, Which::kAll);
  source_.take_no_room("enabled");
  let_ttl_pass();
  mount();
  for (int i = 0; i < 2; ++i) {
    const OpenReply opened = open(walk("enabled").id);
    EXPECT_TRUE(opened.direct_io);
    EXPECT_FALSE(opened.keep_cache);
    EXPECT_EQ(opened.backing_id, 0);
    EXPECT_EQ(read(opened), std::string(23, 'x'));
    EXPECT_EQ(read(opened, 23), "");
    release(opened);
  }
  EXPECT_EQ(fs_->stack.residents->used_bytes(), 0U);
}

TEST_F(FsTest, AFileThatTurnsOutToEndEarlyIsReadToItsEnd) {
  source_.put("object", std::string(3 * kBlock, 'x'));
  source_.end_reads("object", kBlock + 5, Which::kAll);
  let_ttl_pass();
  mount();
  const OpenReply opened = open(walk("object").id);
  EXPECT_EQ(read(opened), std::string(kBlock + 5, 'x'));
  release(opened);
  EXPECT_TRUE(open(walk("object").id).direct_io);
}

TEST_F(FsTest, AFileThatIsShortBecauseItsSourceFailsIsAnError) {
  source_.put("file", std::string(3 * kBlock, 'x'));
  source_.set_fails_by_ending(true);
  source_.end_reads("file", kBlock, Which::kAll);
  let_ttl_pass();
  mount();
  const OpenReply opened = open(walk("file").id);
  const auto text = try_read(opened);
  ASSERT_FALSE(text);
  EXPECT_TRUE(text.error().is(Code::kIo));
  source_.end_reads("file", 3 * kBlock, Which::kAll);
  EXPECT_EQ(read(opened), source_.content("file"));
}

TEST_F(FsTest, AnEmptyFileCostsNoMoreThanItsOpen) {
  source_.put("empty", "");
  source_.take_no_room("empty");
  let_ttl_pass();
  mount();
  const OpenReply opened = open(walk("empty").id);
  EXPECT_FALSE(opened.direct_io);
  EXPECT_EQ(source_.calls(CallKind::kRead), 0U);
}

}  // namespace
}  // namespace larder::fs
