// Whatever the process finds at its descriptors 0, 1 and 2: it does what it is asked, and its exit
// code says how that went.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mount.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "support/command.h"
#include "support/files.h"
#include "support/larder_mount.h"

namespace larder::testing_support {
namespace {

using testing::HasSubstr;
namespace fs = std::filesystem;
using Words = std::vector<std::string>;

constexpr int kOk = 0, kFailed = 1, kUsage = 2, kMountFailed = 32;

class Streams : public testing::Test {
 protected:
  void SetUp() override {
    if (const std::string why = LarderMount::why_unavailable(); !why.empty()) GTEST_SKIP() << why;
    std::string pattern = fs::temp_directory_path().string() + "/larder-streams-XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    home_ = fs::canonical(pattern);
    for (const char* name : {"source", "mount"}) fs::create_directory(in(name));
    ASSERT_EQ(write_file(in("source/file"), "text"), 0);
  }
  void TearDown() override {
    if (home_.empty()) return;
    umount2(in("mount").c_str(), MNT_DETACH);
    std::error_code ignored;
    fs::remove_all(home_, ignored);
  }
  std::string in(const std::string& name) const { return home_ + "/" + name; }
  // The program with these redirections, in the shell's notation.
  static CommandResult larder(Words words, const std::string& redirections = "") {
    words.insert(words.begin(),
                 {"sh", "-c", "exec \"$@\" " + redirections, "sh", LarderMount::program()});
    return run_command(words);
  }
  Words mount_words() const {
    return {"mount", "-o", "size=1G,cache_dir=" + in("cache"), in("source"), in("mount")};
  }
  pid_t daemon_pid() const {
    const auto stats =
        nlohmann::json::parse(read_file(in("mount/.larder/stats.json")).data, nullptr, false);
    return stats.is_object() ? stats.value("pid", -1) : -1;
  }
  void end_mount() const {
    const auto ended = larder({"umount", "--timeout", "20s", in("mount")});
    EXPECT_EQ(ended.exit_code, kOk) << ended.err;
  }

  std::string home_;
};

TEST_F(Streams, AMountStandsAndEndsWhicheverAreClosed) {
  for (const char* closed :
       {"<&-", ">&-", "2>&-", "<&- >&-", "<&- 2>&-", ">&- 2>&-", "<&- >&- 2>&-"}) {
    SCOPED_TRACE(closed);
    const auto mounted = larder(mount_words(), closed);
    ASSERT_EQ(mounted.exit_code, kOk) << mounted.err;
    EXPECT_EQ(read_file(in("mount/file")).data, "text");
    end_mount();
  }
}

TEST_F(Streams, ADaemonHearsSigtermWhicheverAreClosed) {
  for (const char* closed : {"<&-", ">&-", "2>&-", "<&- >&- 2>&-"}) {
    SCOPED_TRACE(closed);
    ASSERT_EQ(larder(mount_words(), closed).exit_code, kOk);
    const pid_t daemon = daemon_pid();
    ASSERT_GT(daemon, 1);
    ASSERT_EQ(kill(daemon, SIGTERM), 0);
    EXPECT_TRUE(LarderMount::eventually([&] { return kill(daemon, 0) != 0; }));
  }
}

TEST_F(Streams, OneInTheForegroundToo) {
  for (const char* closed : {"<&-", ">&-", "2>&-", "<&- >&- 2>&-"}) {
    SCOPED_TRACE(closed);
    Words words = mount_words();
    words.insert(words.begin() + 1, "-f");
    words.insert(words.begin(),
                 {"sh", "-c", std::string("exec \"$@\" ") + closed, "sh", LarderMount::program()});
    const pid_t daemon = start_command(words, in("log"));
    ASSERT_GT(daemon, 0);
    EXPECT_TRUE(
        LarderMount::eventually([&] { return read_file(in("mount/file")).data == "text"; }));
    ASSERT_EQ(kill(daemon, SIGTERM), 0);
    int status = 0;
    ASSERT_TRUE(wait_for_exit(daemon, 20'000, &status));
    EXPECT_EQ(status, 0);
  }
}

TEST_F(Streams, AMessageThatNobodyReadsChangesNoExitCode) {
  const std::string none = in("none");
  const struct {
    Words words;
    int exit_code;
  } commands[] = {
      {{"mount", "-o", "bogus=1", in("source"), in("mount")}, kUsage},
      {{"mount", none, in("mount")}, kMountFailed},
      {{"mount", "-f", none, in("mount")}, kMountFailed},
      {{"umount", none}, kFailed},
      {{"umount", in("mount")}, kFailed},
      {{"umount", "--timeout", "never", in("mount")}, kUsage},
      {{"status", none}, kFailed},
      {{"status", "--timeout", "never"}, kUsage},
      {{"warm", none}, kFailed},
      {{"record", none}, kFailed},
      {{"simulate", none, "--size", "1"}, kFailed},
      {{"simulate", none, "--size", "much"}, kUsage},
      {{"check", none}, kFailed},
      {{"check", "--repair", none}, kFailed},
      {{"inspect", none}, kFailed},
      {{"inspect", none, "object"}, kUsage},
      {{"nonsense"}, kUsage},
      {{"status", "--nonsense"}, kUsage},
      {{}, kUsage},
  };
  for (const auto& command : commands) {
    SCOPED_TRACE(testing::PrintToString(command.words));
    EXPECT_THAT(larder(command.words).err, HasSubstr("larder: "));
    for (const char* redirections :
         {"", "2>&-", "2>/dev/full", "<&- >&- 2>&-", ">/dev/full 2>/dev/full"}) {
      SCOPED_TRACE(redirections);
      EXPECT_EQ(larder(command.words, redirections).exit_code, command.exit_code);
    }
  }
}

TEST_F(Streams, OfAMountTheMessageIsNotWhatItIsFor) {
  ASSERT_EQ(larder(mount_words()).exit_code, kOk);
  EXPECT_EQ(larder({"umount", in("mount")}, ">/dev/full 2>/dev/full").exit_code, kOk);
}

TEST_F(Streams, ALostOutputIsAFailureThatIsSaid) {
  ASSERT_EQ(larder(mount_words()).exit_code, kOk);
  const Words of_a_mount[] = {{"status", in("mount")},
                              {"status", "--json", in("mount")},
                              {"warm", in("mount")},
                              {"record", "--seconds", "1", in("mount")}};
  const Words of_a_cache[] = {{"check", in("cache")},
                              {"check", "--json", in("cache")},
                              {"check", "--repair", in("cache")},
                              {"inspect", in("cache")},
                              {"inspect", in("cache"), "journal"},
                              {"inspect", "--json", in("cache"), "node", "/"},
                              {"simulate", "--pattern", "zipf", "--size", "10"},
                              {"--help"},
                              {"--version"},
                              {"mount", "--help"}};
  const auto expect_failure = [&](const Words& words) {
    SCOPED_TRACE(testing::PrintToString(words));
    EXPECT_EQ(larder(words).exit_code, kOk);
    for (const char* lost : {">/dev/full", ">&-", "<&- >&-"}) {
      const auto result = larder(words, lost);
      EXPECT_EQ(result.exit_code, kFailed) << lost;
      EXPECT_THAT(result.err,
                  HasSubstr(std::string(lost) == ">/dev/full" ? "No space left on device"
                                                              : "Bad file descriptor"));
    }
    EXPECT_EQ(larder(words, ">/dev/full 2>&-").exit_code, kFailed);
  };
  for (const Words& words : of_a_mount) expect_failure(words);
  end_mount();
  for (const Words& words : of_a_cache) expect_failure(words);
}

TEST_F(Streams, AReaderThatHasGoneEndsNoCommandBeforeItsCode) {
  const std::string code_file = in("code");
  const auto piped =
      run_command({"sh", "-c", "(sleep 0.2; \"$@\"; echo $? >" + code_file + ") 2>&1 | :", "sh",
                   LarderMount::program(), "mount", "-o", "bogus=1", in("source"), in("mount")});
  ASSERT_EQ(piped.exit_code, kOk);
  ASSERT_TRUE(LarderMount::eventually([&] { return !read_file(code_file).data.empty(); }));
  EXPECT_EQ(read_file(code_file).data, "2\n");
}

// As with any other program: `larder ... | head` says nothing.
TEST_F(Streams, AnOutputWhoseReaderHasGoneEndsAsSigpipeDoes) {
  const std::string code_file = in("code");
  const auto piped =
      run_command({"sh", "-c", "(sleep 0.2; \"$@\"; echo $? >" + code_file + ") | :", "sh",
                   LarderMount::program(), "--help"});
  EXPECT_EQ(piped.err, "");
  ASSERT_TRUE(LarderMount::eventually([&] { return !read_file(code_file).data.empty(); }));
  EXPECT_EQ(read_file(code_file).data, fmt::format("{}\n", 128 + SIGPIPE));
}

}  // namespace
}  // namespace larder::testing_support
