// `larder check` and `larder inspect` on what real mounts leave.
#include "larder_fixture.h"

namespace larder::testing_support {
namespace {

using testing::AllOf;
using testing::HasSubstr;
namespace fs = std::filesystem;
using Json = nlohmann::json;

class Check : public LarderTest {
 protected:
  void SetUp() override {
    LarderTest::SetUp();
    if (IsSkipped()) return;
    ASSERT_TRUE(mount({kBlockSize}));
    put_and_cache("file", data_);
    put_and_cache("other", data_.substr(5));
    ASSERT_EQ(mkdir(real("dir").c_str(), 0755), 0);
    put_and_cache("dir/inner", data_.substr(7));
  }
  const std::string& cache_dir() const { return mount_->cache_dir(); }
  static CommandResult larder(std::vector<std::string> words) {
    words.insert(words.begin(), LarderMount::program());
    return run_command(words);
  }
  CommandResult check(const std::string& directory) { return larder({"check", directory}); }
  Json check_json(const std::string& directory) {
    return Json::parse(larder({"check", "--json", directory}).out);
  }
  std::string object_of(const std::string& path) {
    const Json node = Json::parse(larder({"inspect", "--json", cache_dir(), "node", path}).out);
    const std::string id = node["record"]["object"];
    const Json object = Json::parse(larder({"inspect", "--json", cache_dir(), "object", id}).out);
    return cache_dir() + "/" + object["file"].get<std::string>();
  }

  const std::string data_ = pattern(kBlockBytes * 2 + 17);
};

TEST_F(Check, AStoppedAndAKilledOneAreClean) {
  ASSERT_EQ(mount_->stop(), 0);
  const auto before = tree_of(cache_dir());
  const CommandResult stopped = check(cache_dir());
  EXPECT_EQ(stopped.exit_code, 0) << stopped.out << stopped.err;
  EXPECT_THAT(stopped.out, HasSubstr("clean, "));
  const Json counts = check_json(cache_dir())["counts"];
  EXPECT_EQ(counts["objects"], 3);
  EXPECT_EQ(counts["bytes_verified"], 3 * data_.size() - 12);
  EXPECT_EQ(tree_of(cache_dir()), before);

  ASSERT_TRUE(mount_->start()) << mount_->problem();
  put_and_cache("more", data_);
  EXPECT_EQ(write_file(at("made"), data_), 0);
  mount_->kill();
  const CommandResult killed = check(cache_dir());
  EXPECT_EQ(killed.exit_code, 0) << killed.out << killed.err;
}

TEST_F(Check, OneInUseIsRefused) {
  const CommandResult refused = check(cache_dir());
  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_THAT(refused.err,
              AllOf(HasSubstr("in use"), HasSubstr(mount_->mountpoint()), HasSubstr("copy")));
  EXPECT_EQ(larder({"inspect", cache_dir()}).exit_code, 1);
  EXPECT_EQ(larder({"inspect", "--force", cache_dir()}).exit_code, 0);
}

TEST_F(Check, DamageIsFoundInACopy) {
  ASSERT_EQ(mount_->stop(), 0);
  const std::string object = object_of("dir/inner");
  const std::string copy = cache_dir() + "-copy";
  ASSERT_EQ(run_command({"cp", "-a", cache_dir(), copy}).exit_code, 0);
  EXPECT_EQ(check(copy).exit_code, 0);
  const std::string copied = copy + object.substr(cache_dir().size());
  std::string bytes = read_file(copied).data;
  bytes[kBlockBytes + 3] ^= 1;
  ASSERT_EQ(write_file(copied, bytes), 0);
  const CommandResult found = check(copy);
  EXPECT_EQ(found.exit_code, 1);
  EXPECT_THAT(found.out, AllOf(HasSubstr("block-checksum: "), HasSubstr("(/dir/inner)"),
                               HasSubstr("block 1 "), HasSubstr("1 finding, 0 notes")));
  const Json json = check_json(copy);
  EXPECT_EQ(json["is_clean"], false);
  EXPECT_EQ(json["by_kind"], (Json{{"block-checksum", 1}}));
  EXPECT_EQ(json["list"][0]["kind"], "block-checksum");
  EXPECT_EQ(larder({"check", "--quick", copy}).exit_code, 0);
  EXPECT_EQ(check(cache_dir()).exit_code, 0);
  fs::remove_all(copy);
}

// Each damage by itself: repaired, the directory is clean, mounts, and shows what the source has.
TEST_F(Check, RepairedDirectoriesServeRightBytes) {
  ASSERT_EQ(mount_->stop(), 0);
  const std::string object = object_of("dir/inner");
  const std::string kept = cache_dir() + "-kept";
  ASSERT_EQ(run_command({"cp", "-a", cache_dir(), kept}).exit_code, 0);
  const auto flip = [](const std::string& path, size_t at) {
    std::string bytes = read_file(path).data;
    ASSERT_LT(at, bytes.size()) << path;
    bytes[at] ^= 0x10;
    ASSERT_EQ(write_file(path, bytes), 0);
  };
  const std::string journal = cache_dir() + "/journal/";
  const std::string log = journal + "log-0000000000000000";
  const auto newest_checkpoint = [&] {
    std::string newest;
    for (const auto& entry : fs::directory_iterator(journal))
      if (const std::string name = entry.path(); name.find("checkpoint-") != name.npos)
        newest = std::max(newest, name);
    return newest;
  };
  const std::map<std::string, std::function<void()>> damages{
      {"superblock", [&] { flip(journal + "superblock", 20); }},
      {"checkpoint", [&] { flip(newest_checkpoint(), 5000); }},
      {"log", [&] { flip(log, 4096 + 100); }},
      {"log and checkpoint",
       [&] {
         flip(log, 4096 + 3000);
         flip(newest_checkpoint(), 5000);
       }},
      {"everything of the journal",
       [&] {
         for (const auto& entry : fs::directory_iterator(journal))
           ASSERT_EQ(write_file(entry.path(), "nothing"), 0);
       }},
      {"a byte of an object", [&] { flip(object, kBlockBytes + 3); }},
      {"a missing object", [&] { fs::remove(object); }},
      {"a short object", [&] { fs::resize_file(object, 100); }},
      {"an orphan",
       [&] {
         ASSERT_EQ(write_file(object.substr(0, object.size() - 4) + "ff" +
                                  object.substr(object.size() - 2),
                              "x"),
                   0);
       }},
  };
  for (const auto& [name, damage] : damages) {
    SCOPED_TRACE(name);
    damage();
    const CommandResult repaired = larder({"check", "--repair", cache_dir()});
    EXPECT_EQ(repaired.exit_code, 0) << repaired.out << repaired.err;
    EXPECT_THAT(repaired.out, HasSubstr("repair: "));
    const CommandResult again = larder({"check", "--repair", cache_dir()});
    EXPECT_EQ(again.exit_code, 0) << again.out << again.err;
    EXPECT_THAT(again.out, testing::StartsWith("clean, 0 notes"));
    ASSERT_TRUE(mount_->start()) << mount_->problem();
    EXPECT_EQ(read_file(at("file")), (FileContent{0, data_}));
    EXPECT_EQ(read_file(at("other")), (FileContent{0, data_.substr(5)}));
    EXPECT_EQ(read_file(at("dir/inner")), (FileContent{0, data_.substr(7)}));
    ASSERT_EQ(mount_->stop(), 0);
    fs::remove_all(cache_dir());
    ASSERT_EQ(run_command({"cp", "-a", kept, cache_dir()}).exit_code, 0);
  }
  fs::remove_all(kept);
}

TEST_F(Check, RepairWantsTheDirectoryToItself) {
  const CommandResult refused = larder({"check", "--repair", cache_dir()});
  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_THAT(refused.err, HasSubstr("in use"));
  EXPECT_EQ(larder({"check", "--repair", "--force", cache_dir()}).exit_code, 2);
}

TEST_F(Check, UsageAndWhatIsNoCacheDirectory) {
  EXPECT_EQ(larder({"check"}).exit_code, 2);
  EXPECT_EQ(larder({"check", "--nonsense", cache_dir()}).exit_code, 2);
  EXPECT_EQ(larder({"inspect", cache_dir(), "nonsense"}).exit_code, 2);
  EXPECT_EQ(larder({"inspect", cache_dir(), "node"}).exit_code, 2);
  EXPECT_EQ(larder({"inspect", cache_dir(), "object", "xyz"}).exit_code, 2);
  EXPECT_EQ(larder({"inspect", cache_dir(), "object", "0"}).exit_code, 2);
  const CommandResult other = check(source_->directory());
  EXPECT_EQ(other.exit_code, 1);
  EXPECT_THAT(other.err, HasSubstr("no cache directory"));
}

TEST_F(Check, InspectShowsWhatIsThere) {
  ASSERT_EQ(mount_->stop(), 0);
  const auto json = [&](std::vector<std::string> words) {
    words.insert(words.begin(), {"inspect", "--json", cache_dir()});
    const CommandResult result = larder(words);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return Json::parse(result.out);
  };
  EXPECT_EQ(json({"superblock"})["segment_bytes"], 16 << 20);
  const Json checkpoints = json({"checkpoints"});
  ASSERT_FALSE(checkpoints.empty());
  EXPECT_EQ(checkpoints[0]["verifies"], true);
  EXPECT_EQ(json({"stats"})["files_with_data"], 3);
  const Json by_path = json({"node", "dir/inner"});
  EXPECT_EQ(by_path["path"], "/dir/inner");
  EXPECT_EQ(by_path["record"]["size_bytes"], data_.size() - 7);
  EXPECT_EQ(by_path["record"]["first_chunk"]["blocks"], "0-2");
  EXPECT_EQ(json({"node", by_path["node"].dump()}), by_path);
  const std::string object = by_path["record"]["object"];
  EXPECT_EQ(json({"object", object})["nodes"], (Json{by_path["node"]}));

  // One object a line, and on from where it stopped.
  const CommandResult begin = larder({"inspect", "--json", "--limit", "3", cache_dir(), "journal"});
  EXPECT_EQ(begin.exit_code, 0);
  const Json first = Json::parse(begin.out.substr(0, begin.out.find('\n')));
  EXPECT_EQ(first["type"], "batch");
  const size_t more = begin.err.find("--from ");
  ASSERT_NE(more, begin.err.npos) << begin.err;
  const std::string from = begin.err.substr(more + 7, begin.err.find('\n') - more - 7);
  const CommandResult rest =
      larder({"inspect", "--json", "--limit", "1000000", "--from", from, cache_dir(), "journal"});
  EXPECT_EQ(Json::parse(rest.out.substr(0, rest.out.find('\n')))["frame"], from);
  EXPECT_EQ(rest.err, "");
  EXPECT_EQ(larder({"inspect", cache_dir(), "node", "absent"}).exit_code, 1);
  EXPECT_EQ(larder({"inspect", cache_dir(), "object", "ffff"}).exit_code, 1);

  for (const auto& entry : fs::directory_iterator(cache_dir() + "/journal"))
    if (entry.path().filename().string().starts_with("checkpoint-")) fs::remove(entry.path());
  EXPECT_EQ(larder({"inspect", cache_dir(), "checkpoints"}).out, "none\n");
  EXPECT_EQ(json({"checkpoints"}), Json::array());
}

}  // namespace
}  // namespace larder::testing_support
