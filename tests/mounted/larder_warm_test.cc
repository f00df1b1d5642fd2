// `larder warm`: what it loads is there without the source.
#include <fcntl.h>
#include <unistd.h>

#include <csignal>
#include <thread>

#include "larder_fixture.h"

namespace larder::testing_support {
namespace {

using testing::HasSubstr;

class Warm : public LarderTest {
 protected:
  void SetUp() override {
    LarderTest::SetUp();
    if (IsSkipped()) return;
    std::filesystem::create_directories(real("directory/deep"));
    for (const auto& [name, data] : files_) put(name, data);
    settle();
    ASSERT_TRUE(mount());
  }
  CommandResult warm(const std::vector<std::string>& words,
                     const CommandOptions& options = {}) const {
    std::vector<std::string> command = {LarderMount::program(), "warm", mount_->mountpoint()};
    command.insert(command.end(), words.begin(), words.end());
    return run_command(command, options);
  }
  void expect_cached(const std::vector<std::string>& names) {
    source_->reset_requests();
    for (const std::string& name : names)
      EXPECT_EQ(read_file(at(name)), (FileContent{0, files_.at(name)})) << name;
    EXPECT_EQ(data_requests(), 0u);
  }
  void expect_cold(const std::string& name) {
    source_->reset_requests();
    EXPECT_EQ(read_file(at(name)), (FileContent{0, files_.at(name)}));
    EXPECT_GT(data_requests(), 0u) << name;
  }
  // What follows "ok".
  static std::string answer(const Descriptor& control, const std::string& command) {
    const std::string line = command + "\n";
    EXPECT_EQ(write(control.get(), line.data(), line.size()), static_cast<ssize_t>(line.size()));
    const std::string reply = read_at(control.get(), 0, 4096).data;
    EXPECT_TRUE(reply.starts_with("ok") && reply.ends_with("\n")) << command << ": " << reply;
    return reply.starts_with("ok ") ? reply.substr(3, reply.size() - 4) : "";
  }
  const std::map<std::string, std::string> files_ = {
      {"a", pattern(3 * kBlockBytes + 1, 1)}, {"b", "small"},
      {"directory/c", pattern(5000, 2)},      {"directory/deep/d with space", pattern(70'000, 3)},
      {"new\nline", pattern(100, 4)},         {"e", pattern(10, 5)},
  };
};

TEST_F(Warm, LoadsFilesNamedAsArguments) {
  const auto result = warm({"a", "directory/c", mount_->mountpoint() + "/b"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("3"));
  expect_cached({"a", "b", "directory/c"});
  expect_cold("e");
}

TEST_F(Warm, RelativePathsCountFromTheWorkingDirectoryOnTheMount) {
  const auto result = warm({"c", "deep/d with space"}, {.directory = at("directory")});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  expect_cached({"directory/c", "directory/deep/d with space"});
}

TEST_F(Warm, LoadsFromAListInAFile) {
  const std::string list = source_->directory() + "/../list";
  ASSERT_EQ(write_file(list, "a\n\ndirectory/deep/d with space\nb"), 0);
  const auto result = warm({"--from", list});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  expect_cached({"a", "b", "directory/deep/d with space"});
}

TEST_F(Warm, LoadsFromStdin) {
  const auto result = warm({"--from", "-"}, {.in = "a\ndirectory/c\n"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  expect_cached({"a", "directory/c"});
}

TEST_F(Warm, ListsMayBeNulSeparated) {
  using namespace std::string_literals;
  for (const std::vector<std::string>& words :
       {std::vector<std::string>{"--from", "-"}, std::vector<std::string>{"--from", "-", "-0"}}) {
    const auto result = warm(words, {.in = "new\nline\0b\0"s});
    EXPECT_EQ(result.exit_code, words.size() == 3 ? 0 : result.exit_code) << result.err;
  }
  expect_cached({"new\nline", "b"});
}

TEST_F(Warm, LoadsWholeTrees) {
  const auto result = warm({"-r", "directory"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  expect_cached({"directory/c", "directory/deep/d with space"});
  expect_cold("a");
  EXPECT_EQ(warm({}).exit_code, 0);
  expect_cached({"a", "b", "e", "new\nline", "directory/c"});
}

TEST_F(Warm, ADirectoryWithoutRecursionIsAnError) {
  const auto result = warm({"directory"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err, HasSubstr("-r"));
}

TEST_F(Warm, MissingFilesAreNamedAndNoError) {
  const auto result = warm({"a", "gone", "directory/none", "b/below"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("3 missing"));
  for (const char* name : {"gone", "directory/none", "b/below"})
    EXPECT_THAT(result.err, HasSubstr(std::string("not found: ") + name + "\n"));
  expect_cached({"a"});
}

TEST_F(Warm, NothingFoundAtAllIsAnError) {
  EXPECT_EQ(warm({"-r", "2042"}).exit_code, 1);
  // Lists as they come.
  const auto dos = warm({"--from", "-"}, {.in = "a\r\ndirectory/c\r\n"});
  EXPECT_EQ(dos.exit_code, 1);
  EXPECT_THAT(dos.err, HasSubstr("not found: a\\r: the list has carriage returns"));
  const auto relative = warm({"./gone"}, {.directory = "/"});
  EXPECT_EQ(relative.exit_code, 1);
  EXPECT_THAT(relative.err, HasSubstr("relative paths count from the mount's root"));
  EXPECT_THAT(warm({"/a"}).err, HasSubstr("without the first / it would count from the mount's"));
  EXPECT_THAT(warm({source_->mountpoint() + "/a"}).err, HasSubstr("on the mount it is " + at("a")));
  expect_cold("a");
}

// The whole mount was loaded in its place.
TEST_F(Warm, APathOnTheMountInPlaceOfTheMountPointIsWhatIsMeant) {
  const auto result = run_command({LarderMount::program(), "warm", "-r", at("directory")});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  expect_cached({"directory/c", "directory/deep/d with space"});
  expect_cold("a");
  EXPECT_EQ(run_command({LarderMount::program(), "warm", "-r", at("2042")}).exit_code, 1);
  const auto unclear = run_command({LarderMount::program(), "warm", at("directory"), "b"});
  EXPECT_EQ(unclear.exit_code, 1);
  EXPECT_THAT(unclear.err, HasSubstr("name the mount first"));
  expect_cold("b");
}

// As a shell completes them.
TEST_F(Warm, PathsThroughTheMountPointFromOutside) {
  const std::filesystem::path place = mount_->mountpoint();
  const auto result = warm({place.filename().string() + "/directory/c"},
                           {.directory = place.parent_path().string()});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  expect_cached({"directory/c"});
}

// However it ends: the daemon learns that its control file was closed.
TEST_F(Warm, AJobEndsWithItsClient) {
  ASSERT_TRUE(source_->set("hang", "1"));
  const std::string log = mount_->cache_dir() + "/../client";
  for (const int signal : {SIGINT, SIGKILL}) {
    const pid_t client = start_command(
        {LarderMount::program(), "warm", "-r", mount_->mountpoint(), "directory", "a", "b"}, log);
    ASSERT_GT(client, 0);
    EXPECT_TRUE(source_->wait_hung(1));
    kill(client, signal);
    int status = 0;
    ASSERT_TRUE(wait_for_exit(client, 10'000, &status));
  }
  for (int i = 0; i < 66; ++i) {  // more than there may be at once
    const Descriptor control(mount_->at(".larder/control"), O_RDWR);
    const std::string job = answer(control, "warm-begin");
    answer(control, "warm-add " + job + " file" + std::to_string(i));
  }
  ASSERT_TRUE(source_->set("hang", "0"));
  EXPECT_TRUE(LarderMount::eventually([&] { return mount_->metric("/warm/queued") == 0; }));
  EXPECT_EQ(warm({"e"}).exit_code, 0);
}

TEST_F(Warm, ProgressMovesWithinAFile) {
  constexpr size_t kBytes = 32 << 20;
  put("large", std::string(kBytes, 'x'));
  settle();
  const Descriptor control(mount_->at(".larder/control"), O_RDWR);
  const std::string job = answer(control, "warm-begin");
  const auto status = [&] {
    return nlohmann::json::parse(answer(control, "warm-status " + job), nullptr, false);
  };
  // So slow that there is time to stop it in between.
  ASSERT_TRUE(source_->set("bandwidth_mb_s", "4"));
  answer(control, "warm-add " + job + " large");
  EXPECT_TRUE(LarderMount::eventually([&] { return status()["bytes_done"] > 0; }));
  ASSERT_TRUE(source_->set("hang", "1"));
  const nlohmann::json within = status();
  EXPECT_LT(within["bytes_done"], kBytes);
  EXPECT_EQ(within["bytes_total"], kBytes);
  EXPECT_EQ(within["files_done"], 0);
  ASSERT_TRUE(source_->set("bandwidth_mb_s", "0"));
  ASSERT_TRUE(source_->set("hang", "0"));
  answer(control, "warm-end " + job);
  EXPECT_TRUE(LarderMount::eventually([&] { return status()["done"] == true; }));
  EXPECT_EQ(status()["bytes_done"], kBytes);
  EXPECT_EQ(status()["files_done"], 1);
}

TEST_F(Warm, AFileLargerThanTheCacheIsRefused) {
  put("large", "");
  std::filesystem::resize_file(real("large"), uint64_t{300} << 30);
  settle();
  ASSERT_TRUE(mount({"size=64M"}));
  ASSERT_EQ(warm({"a", "b"}).exit_code, 0);
  const auto result = warm({"large"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err, HasSubstr("large: 322122547200 bytes are more than the cache may hold"));
  expect_cached({"a", "b"});  // still
}

TEST_F(Warm, RealErrorsAreShownAndFailIt) {
  ASSERT_TRUE(source_->set("fail", "read:EIO:*"));
  const auto result = warm({"a", "b"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err, HasSubstr("a: "));
  ASSERT_TRUE(source_->set("fail", ""));
  EXPECT_EQ(warm({"a", "b"}).exit_code, 0);
  expect_cached({"a", "b"});
}

TEST_F(Warm, ListsAndPathsThatCannotBeAreRefused) {
  EXPECT_EQ(warm({"--from", "/nonexistent"}).exit_code, 1);
  const auto outside = warm({"/etc/passwd"});
  EXPECT_EQ(outside.exit_code, 1);
  EXPECT_THAT(outside.err, HasSubstr("is not on the mount"));
  EXPECT_EQ(warm({"../../etc/passwd"}).exit_code, 1);
}

TEST_F(Warm, ManyFilesAtOnce) {
  constexpr size_t kFiles = 1000;
  std::string list;
  ASSERT_EQ(mkdir(real("many").c_str(), 0755), 0);
  for (size_t i = 0; i < kFiles; ++i) {
    const std::string name = "many/" + std::to_string(i);
    ASSERT_EQ(write_file(real(name), pattern(4096, i)), 0);
    list += name + "\n";
  }
  settle();
  const auto result = warm({"--from", "-"}, {.in = list});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("1000"));
  EXPECT_EQ(mount_->metric("/warm/files"), static_cast<int64_t>(kFiles));
  source_->reset_requests();
  for (size_t i = 0; i < kFiles; ++i)
    EXPECT_EQ(read_file(at("many/" + std::to_string(i))), (FileContent{0, pattern(4096, i)}));
  EXPECT_EQ(data_requests(), 0u);
}

TEST_F(Warm, RunsManyAtOnceOverASlowSource) {
  // All of them wait for the source together.
  ASSERT_TRUE(source_->set("hang", "1"));
  CommandResult result;
  std::jthread warming([&] { result = warm({"a", "b", "e", "new\nline"}); });
  EXPECT_TRUE(source_->wait_hung(4));
  ASSERT_TRUE(source_->set("hang", "0"));
  warming.join();
  EXPECT_EQ(result.exit_code, 0) << result.err;
  expect_cached({"a", "b", "e"});
}

}  // namespace
}  // namespace larder::testing_support
