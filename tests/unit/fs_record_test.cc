// CachedFileSystem: what of its accesses is recorded.
#include "fs_fixture.h"

namespace larder::fs {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using testing::random_text;
using What = AccessRecorder::What;

class FsRecordTest : public FsTest {
 protected:
  void begin(What what) {
    const auto recording = files().recorder().begin(what);
    ASSERT_TRUE(recording);
    recording_ = *recording;
  }
  // NODE[:BLOCK]=BYTES
  std::vector<std::string> recorded() {
    const auto batch = files().recorder().fetch(recording_, 1000);
    EXPECT_TRUE(batch);
    std::vector<std::string> accesses;
    if (!batch) return accesses;
    for (const Access& access : batch->accesses) {
      std::string text = std::to_string(access.node.value);
      if (access.block != Access::kWholeFile) text += ":" + std::to_string(access.block);
      accesses.push_back(text + "=" + std::to_string(access.size_bytes));
    }
    return accesses;
  }
  static std::string number(KernelId id) { return std::to_string(id.node()); }

  uint64_t recording_ = 0;
};

TEST_F(FsRecordTest, EachOpenIsAnAccessOfTheWholeFile) {
  source_.put("file", random_text(1, kBlock + 1));
  source_.put("empty", "");
  mount();
  let_ttl_pass();
  const std::string file = number(walk("file").id), empty = number(walk("empty").id);
  read_path("file");
  begin(What::kOpens);
  EXPECT_THAT(recorded(), IsEmpty()) << "that was before";
  read_path("file");
  read_path("empty");
  read_path("file");
  EXPECT_THAT(recorded(), ElementsAre(file + "=8192", empty + "=0", file + "=8192"));
}

TEST_F(FsRecordTest, WritersAreRecordedWithTheSizeTheyFind) {
  mount();
  begin(What::kOpens);
  const CreateReply made = create(kRoot, "new");
  ASSERT_TRUE(write(made.open, random_text(1, kBlock)));
  release(made.open);
  release(open(made.node.id, O_RDWR));
  const std::string file = number(made.node.id);
  EXPECT_THAT(recorded(), ElementsAre(file + "=0", file + "=4096"));
}

TEST_F(FsRecordTest, ReadsAreTheirBlocksWhereverTheyComeFrom) {
  source_.put("file", random_text(1, 2 * kBlock + 1));
  mount({}, {.memory_bytes = 1 << 20});
  let_ttl_pass();
  const NodeReply file = walk("file");
  begin(What::kBlocks);
  const OpenReply opened = open(file.id);
  read(opened);
  const std::string id = number(file.id);
  const auto whole = ElementsAre(id + ":0=4096", id + ":1=4096", id + ":2=1");
  EXPECT_THAT(recorded(), whole);
  fs_->stack.settle();
  read(opened);
  EXPECT_THAT(recorded(), whole);
  EXPECT_EQ(read(opened, 3 * kBlock, kBlock), "");
  EXPECT_THAT(recorded(), IsEmpty());
  ReadReply reply;
  ASSERT_TRUE(files().read_hit(opened.handle, kBlock - 1, 2, reply));
  EXPECT_THAT(recorded(), ElementsAre(id + ":0=4096", id + ":1=4096"));
  release(opened);
}

TEST_F(FsRecordTest, AFailedReadOrOpenIsNone) {
  source_.put("file", random_text(1, kBlock));
  mount();
  let_ttl_pass();
  const NodeReply file = walk("file");
  begin(What::kOpens);
  source_.set_down(Code::kNotFound);
  EXPECT_FALSE(try_open(file.id));
  source_.set_down(std::nullopt);
  EXPECT_THAT(recorded(), IsEmpty());
}

TEST_F(FsRecordTest, PathsAreThoseOfNow) {
  source_.put("d/file", "text");
  mount();
  let_ttl_pass();
  const NodeReply directory = walk("d");
  const NodeId file{walk("d/file").id.node()};
  EXPECT_EQ(files().path_in_memory(file), "d/file");
  ASSERT_TRUE(fs_->run(files().rename(directory.id, "file", kRoot, "moved", 0)));
  EXPECT_EQ(files().path_in_memory(file), "moved");
  ASSERT_TRUE(fs_->run(files().unlink(kRoot, "moved")));
  EXPECT_EQ(files().path_in_memory(file), std::nullopt);
  forget_all();
  EXPECT_EQ(files().path_in_memory(file), std::nullopt);
}

}  // namespace
}  // namespace larder::fs
