// `larder record`: what is read through a mount becomes a trace.
#include <sys/wait.h>

#include <csignal>
#include <sstream>

#include "larder_fixture.h"

namespace larder::testing_support {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using Json = nlohmann::json;

class Record : public LarderTest {
 protected:
  void SetUp() override {
    LarderTest::SetUp();
    if (IsSkipped()) return;
    put("a", pattern(100'000, 1));
    put("b", pattern(200'000, 2));
    put("new\nline and blank", "small");
    settle();
  }
  void TearDown() override {
    if (recorder_ > 0) stop(SIGKILL);
    LarderTest::TearDown();
  }
  std::string log() const { return source_->directory() + "/../trace"; }
  std::string said() const { return read_file(source_->directory() + "/../said").data; }
  std::vector<std::string> command(const std::vector<std::string>& words) const {
    std::vector<std::string> all = {LarderMount::program(), "record", mount_->mountpoint()};
    all.insert(all.end(), words.begin(), words.end());
    return all;
  }
  // In the background, until the mount records.
  void start(std::vector<std::string> words = {}) {
    words.insert(words.end(), {"-o", log()});
    recorder_ = start_command(command(words), source_->directory() + "/../said");
    ASSERT_GT(recorder_, 0);
    ASSERT_TRUE(LarderMount::eventually([&] { return mount_->metric("/record/active") == 1; }))
        << said();
  }
  // Its exit code; -1 when a signal ended it.
  int stop(int signal) {
    ::kill(recorder_, signal);
    return await();
  }
  int await() {
    int status = 0;
    EXPECT_TRUE(wait_for_exit(std::exchange(recorder_, -1), 20'000, &status));
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  // The requests of the log, as KEY SIZE PATH; keys are numbered in the order they come.
  std::vector<std::string> requests() const {
    std::map<std::string, size_t> numbers;
    std::vector<std::string> found;
    std::istringstream lines(read_file(log()).data);
    for (std::string line; std::getline(lines, line);) {
      if (line.starts_with("#")) continue;
      std::istringstream words(line);
      std::string key, size, time, path, rest;
      words >> key >> size >> time >> path;
      EXPECT_FALSE(words >> rest) << line;
      const size_t colon = std::min(key.find(':'), key.size());
      const size_t number = numbers.emplace(key.substr(0, colon), numbers.size()).first->second;
      found.push_back(std::to_string(number) + key.substr(colon) + " " + size + " " + path);
    }
    return found;
  }
  std::string last_line() const {
    std::string text = read_file(log()).data;
    if (text.ends_with('\n')) text.pop_back();
    return text.substr(text.rfind('\n') + 1);
  }
  void read_all(const std::string& name) const { EXPECT_EQ(read_file(at(name)).error, 0) << name; }

  pid_t recorder_ = -1;
};

TEST_F(Record, WhatIsOpenedCanBeSimulated) {
  ASSERT_TRUE(mount());
  read_all("a");  // is not in it
  start();
  for (const char* name : {"a", "b", "a", "new\nline and blank", "b", "a"}) read_all(name);
  EXPECT_EQ(stop(SIGINT), 0) << said();
  EXPECT_EQ(said(), "larder: 6 accesses recorded, 0 dropped\n");
  EXPECT_EQ(last_line(), "# 6 accesses, 0 dropped");
  EXPECT_THAT(requests(),
              ElementsAre("0 102400 a", "1 200704 b", "0 102400 a",
                          "2 4096 new%0Aline%20and%20blank", "1 200704 b", "0 102400 a"));
  EXPECT_EQ(mount_->metric("/record/active"), 0);
  EXPECT_EQ(mount_->metric("/record/accesses"), 6);
  const auto simulated = run_command({LarderMount::program(), "simulate", log(), "--policy", "lru",
                                      "--size", "100K,200K,1M", "--json"});
  ASSERT_EQ(simulated.exit_code, 0) << simulated.err;
  const Json json = Json::parse(simulated.out);
  EXPECT_EQ(json["requests"], 6);
  EXPECT_EQ(json["keys"], 3);
  EXPECT_EQ(json["size_unit"], "bytes");
  std::vector<uint64_t> hits;
  for (const Json& result : json["results"])
    if (result["policy"] == "lru") hits.push_back(result["hits"]);
  // `a` alone fits; either of both fits; all fit.
  EXPECT_THAT(hits, ElementsAre(1u, 0u, 3u));
}

TEST_F(Record, PassthroughShowsByItsOpens) {
  ASSERT_TRUE(mount({"profile=private"}));
  read_all("a");
  wait_until_stored();
  start();
  const int64_t before = mount_->metric("/other/opens");
  for (int i = 0; i < 5; ++i) read_all("a");
  const int64_t opens = mount_->metric("/other/opens") - before;
  EXPECT_EQ(stop(SIGTERM), 0) << said();
  EXPECT_EQ(static_cast<int64_t>(requests().size()), opens);
  EXPECT_EQ(opens, 5);
  if (mount_->stats()["passthrough"] == "on") {
    EXPECT_GE(mount_->metric("/other/opens/passthrough"), 5);
  }
}

TEST_F(Record, BlocksAreThoseTheDaemonReads) {
  ASSERT_TRUE(mount({"passthrough=off", "block_size=64K"}));
  start({"--blocks"});
  {
    const Descriptor file(at("b"), O_RDONLY | O_DIRECT);
    ASSERT_GE(file.get(), 0);
    read_at(file.get(), 65'536, 4096);
    read_at(file.get(), 196'608, 4096);
    read_at(file.get(), 65'536, 4096);
  }
  EXPECT_EQ(stop(SIGTERM), 0) << said();
  EXPECT_THAT(requests(), ElementsAre("0:1 65536 b", "0:3 3392 b", "0:1 65536 b"));
}

TEST_F(Record, EndsByItself) {
  ASSERT_TRUE(mount());
  const auto result = run_command(command({"--seconds", "1"}));
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, AllOf(HasSubstr("# larder record: "),
                                testing::EndsWith("# 0 accesses, 0 dropped\n")));
  EXPECT_EQ(mount_->metric("/record/active"), 0);
}

TEST_F(Record, OnlyOneAtATime) {
  ASSERT_TRUE(mount());
  start();
  const auto second = run_command(command({"--seconds", "1"}));
  EXPECT_EQ(second.exit_code, 1);
  EXPECT_EQ(second.err, "larder: " + mount_->mountpoint() +
                            " is being recorded already; a recorder that died is forgotten after "
                            "10 s\n");
  EXPECT_EQ(stop(SIGTERM), 0);
  EXPECT_EQ(run_command(command({"--seconds", "1"})).exit_code, 0);
}

TEST_F(Record, ARecorderThatDiesIsForgotten) {
  ASSERT_TRUE(mount());
  start();
  read_all("a");
  EXPECT_EQ(stop(SIGKILL), -1);
  EXPECT_EQ(mount_->metric("/record/active"), 1) << "not at once";
  EXPECT_TRUE(LarderMount::eventually([&] { return mount_->metric("/record/active") == 0; }));
  const int64_t recorded = mount_->metric("/record/accesses");
  read_all("b");
  EXPECT_EQ(mount_->metric("/record/accesses"), recorded);
  ASSERT_EQ(unlink(log().c_str()), 0);
  start();
  read_all("b");
  EXPECT_EQ(stop(SIGTERM), 0) << said();
  EXPECT_THAT(requests(), ElementsAre("0 200704 b"));
}

TEST_F(Record, DoesNotHoldUpAnUnmount) {
  ASSERT_TRUE(mount());
  start();
  read_all("a");
  ASSERT_TRUE(LarderMount::eventually([&] { return mount_->metric("/record/queued") == 0; }));
  const auto ended = run_command({LarderMount::program(), "umount", mount_->mountpoint()});
  EXPECT_EQ(ended.exit_code, 0) << ended.err;
  EXPECT_EQ(await(), 1);
  const std::string why = mount_->mountpoint() + ": unmounted meanwhile";
  EXPECT_EQ(said(), "larder: " + why + "\n");
  EXPECT_EQ(last_line(), "# 1 accesses, 0 dropped; ended early: " + why);
}

TEST_F(Record, AnOutputThatFailsEndsIt) {
  ASSERT_TRUE(mount());
  ASSERT_EQ(write_file(log(), "precious"), 0);
  const auto full = [&](const std::vector<std::string>& words) {
    auto result = run_command(command(words));
    EXPECT_EQ(result.exit_code, 1);
    EXPECT_EQ(mount_->metric("/record/active"), 0) << "the next one can begin";
    return result.err;
  };
  EXPECT_EQ(full({"-o", log()}), "larder: " + log() + " is not empty; --force overwrites it\n");
  EXPECT_EQ(read_file(log()).data, "precious");
  EXPECT_EQ(full({"-o", "/nonexistent/x"}), "larder: /nonexistent/x: No such file or directory\n");
  EXPECT_EQ(full({"-o", "/dev/full"}), "larder: /dev/full: No space left on device\n");
  const auto piped = run_command({"sh", "-c", "\"$0\" record --seconds 1 \"$1\" | true",
                                  LarderMount::program(), mount_->mountpoint()});
  EXPECT_THAT(piped.err, testing::AnyOf("", "larder: standard output: Broken pipe\n",
                                        "larder: 0 accesses recorded, 0 dropped\n"));
  EXPECT_EQ(run_command(command({"-o", log(), "--force", "--seconds", "1"})).exit_code, 0);
  EXPECT_EQ(last_line(), "# 0 accesses, 0 dropped");
}

TEST_F(Record, SaysWhyItCannotBegin) {
  ASSERT_TRUE(mount({"control_dir=.steer", "allow_other=on"}));
  const auto unnamed = run_command(command({}));
  EXPECT_EQ(unnamed.exit_code, 1);
  EXPECT_EQ(unnamed.err, "larder: " + mount_->mountpoint() +
                             ": no control directory there: name it with --control-dir\n");
  const auto named = command({"--control-dir", ".steer", "--seconds", "1"});
  EXPECT_EQ(run_command(named).exit_code, 0);
  CommandOptions as;
  as.uid = as.gid = 65534;
  const auto stranger = run_command(named, as);
  EXPECT_EQ(stranger.exit_code, 1);
  EXPECT_EQ(stranger.err, "larder: " + mount_->mountpoint() +
                              ": only the mount's owner and root may record it\n");
}

}  // namespace
}  // namespace larder::testing_support
