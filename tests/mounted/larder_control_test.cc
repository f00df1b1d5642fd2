// What a mount tells of itself: .larder/ and `larder status`.
#include <dirent.h>

#include <regex>
#include <set>
#include <sstream>
#include <thread>

#include "larder_fixture.h"

namespace larder::testing_support {
namespace {

using testing::HasSubstr;
using testing::Not;
using Json = nlohmann::json;

class Control : public LarderTest {
 protected:
  CommandResult status(const std::vector<std::string>& words = {}) const {
    std::vector<std::string> command = {LarderMount::program(), "status"};
    command.insert(command.end(), words.begin(), words.end());
    command.push_back(mount_->mountpoint());
    return run_command(command);
  }
};

TEST_F(Control, StatsCountWhatHappens) {
  const std::string data = pattern(2 * kBlockBytes);
  ASSERT_TRUE(mount({kBlockSize, "passthrough=off", "size=64M"}));
  put_and_cache("file", data);
  {
    // Past the kernel's pages.
    const Descriptor file(at("file"), O_RDONLY);
    drop_pages(file.get());
    EXPECT_EQ(read_at(file.get(), 0, data.size()), (FileContent{0, data}));
  }
  ASSERT_TRUE(source_->set("fail", "read:EIO:*"));
  put("broken", data);
  EXPECT_EQ(read_file(at("broken")).error, EIO);
  const auto result = status({"--json"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const Json stats = Json::parse(result.out);
  EXPECT_EQ(stats["schema"], 1);
  EXPECT_EQ(stats["pid"], mount_->pid());
  EXPECT_EQ(stats["source"], source_->mountpoint());
  EXPECT_EQ(stats["mountpoint"], mount_->mountpoint());
  EXPECT_EQ(stats["cache_dir"], mount_->cache_dir());
  EXPECT_EQ(stats["control_dir"], ".larder");
  EXPECT_TRUE(stats["version"].is_string());
  EXPECT_GT(stats["uptime_s"], 0.0);
  EXPECT_TRUE(stats["engine"] == "uring" || stats["engine"] == "threads");
  EXPECT_THAT(stats["passthrough"], HasSubstr("off"));
  const Json& metrics = stats["metrics"];
  EXPECT_GE(
      metrics["read"]["hits"]["memory"].get<int>() + metrics["read"]["hits"]["disk"].get<int>(), 1);
  EXPECT_GE(metrics["read"]["misses"], 1);
  EXPECT_GT(metrics["read"]["bytes"]["source"], 0);
  EXPECT_GE(metrics["read"]["bytes"]["memory"].get<size_t>() +
                metrics["read"]["bytes"]["disk"].get<size_t>(),
            data.size());
  EXPECT_EQ(metrics["other"]["opens"]["passthrough"], 0);
  EXPECT_GE(metrics["other"]["opens"]["cached"], 3);
  EXPECT_EQ(metrics["fetches"]["in_flight"], 0);
  EXPECT_EQ(metrics["other"]["evictions"], 0);
  EXPECT_GE(metrics["source"]["errors"]["read"], 1);
  EXPECT_EQ(metrics["cache"]["object_bytes"], data.size());
  EXPECT_EQ(metrics["cache"]["used_bytes"], data.size() +
                                                metrics["cache"]["journal_bytes"].get<size_t>() +
                                                metrics["cache"]["metadata_bytes"].get<size_t>());
  EXPECT_EQ(metrics["cache"]["limit_bytes"], 64 << 20);
  for (const char* name : {"read_hit", "read_miss"}) {
    EXPECT_GE(stats["latency"][name]["count"], 1) << name;
    for (const char* quantile : {"p50_ns", "p95_ns", "p99_ns"})
      EXPECT_GT(stats["latency"][name][quantile], 0) << name;
  }
  for (const char* kind : {"metadata", "data"})
    EXPECT_GE(stats["latency"]["source_call"][kind]["count"], 1) << kind;
}

TEST_F(Control, InFlightFetchesAreShown) {
  put("file", pattern(kBlockBytes * 4));
  settle();
  ASSERT_TRUE(mount({"source_timeout=1h"}));
  const Descriptor file(at("file"), O_RDONLY);
  ASSERT_TRUE(source_->set("hang", "1"));
  std::jthread reader([&] { read_at(file.get(), 0, 4096); });
  EXPECT_TRUE(source_->wait_hung(1));
  EXPECT_GE(mount_->metric("/fetches/in_flight"), 1);
  EXPECT_GE(mount_->metric("/source/calls_in_flight"), 1);
  ASSERT_TRUE(source_->set("hang", "0"));
}

TEST_F(Control, MetricsAreInPrometheusFormat) {
  ASSERT_TRUE(mount());
  put_and_cache("file", "hello");
  const FileContent text = read_file(at(".larder/metrics"));
  ASSERT_EQ(text.error, 0);
  const std::regex comment(R"(# (HELP|TYPE) [a-z_][a-z0-9_]* .+)");
  const std::regex sample(
      R"re(larder_[a-z0-9_]+(\{[a-z]+="[^"]*"(,[a-z]+="[^"]*")*\})? ([0-9.e+-]+|\+Inf))re");
  std::set<std::string> names, typed;
  std::istringstream lines(text.data);
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("#")) {
      EXPECT_TRUE(std::regex_match(line, comment)) << line;
      const bool is_type = line.starts_with("# TYPE ");
      const bool is_new = is_type && typed.insert(line.substr(7, line.find(' ', 7) - 7)).second;
      EXPECT_EQ(is_type, is_new) << line;
      continue;
    }
    EXPECT_TRUE(std::regex_match(line, sample)) << line;
    EXPECT_TRUE(names.insert(line.substr(0, line.rfind(' '))).second) << "twice: " << line;
  }
  for (const char* name : {"larder_read_hits_total{tier=\"memory\"}", "larder_read_misses_total",
                           "larder_cache_used_bytes", "larder_read_hit_seconds_count"})
    EXPECT_TRUE(names.contains(name)) << name;
}

TEST_F(Control, ConfigCanBeMountedAgain) {
  ASSERT_TRUE(mount({"size=123M", "attr_ttl=7s", "io=threads", "passthrough=off"}));
  const FileContent config = read_file(at(".larder/config"));
  ASSERT_EQ(config.error, 0);
  for (const char* line : {"size = 123M", "attr_ttl = 7s", "io = threads", "passthrough = off"})
    EXPECT_THAT(config.data, HasSubstr(line));
  const std::string kept = source_->directory() + "/../larder.ini";
  ASSERT_EQ(write_file(kept, config.data), 0);
  const std::string mountpoint = mount_->mountpoint();
  ASSERT_EQ(mount_->stop(), 0);
  const auto again =
      run_command({LarderMount::program(), "mount", "-c", kept, source_->mountpoint(), mountpoint});
  ASSERT_EQ(again.exit_code, 0) << again.err;
  const std::string same = read_file(at(".larder/config")).data;
  const auto ended = run_command({LarderMount::program(), "umount", mountpoint});
  EXPECT_EQ(ended.exit_code, 0) << ended.err;
  const auto without_origin = [](std::string text) {
    return std::regex_replace(text, std::regex(R"( *;[^\n]*)"), "");
  };
  EXPECT_EQ(without_origin(same), without_origin(config.data));
}

TEST_F(Control, StatusIsAPageForPeople) {
  ASSERT_TRUE(mount());
  put_and_cache("file", pattern(kBlockBytes));
  const auto page = status();
  ASSERT_EQ(page.exit_code, 0) << page.err;
  for (const char* word : {"source", "up", "reads", "hits", "misses", "cache", "opens", "p99"})
    EXPECT_THAT(page.out, HasSubstr(word));
  EXPECT_THAT(page.out, HasSubstr(source_->mountpoint()));
  EXPECT_THAT(page.out, Not(HasSubstr("errors"))) << "errors only when there are some";
  EXPECT_THAT(page.out, Not(HasSubstr("xattr")));
  EXPECT_LT(std::count(page.out.begin(), page.out.end(), '\n'), 40) << page.out;
  put("broken", "x");
  ASSERT_TRUE(source_->set("fail", "read:EIO:*"));
  EXPECT_EQ(read_file(at("broken")).error, EIO);
  EXPECT_THAT(status().out, HasSubstr("errors"));
}

TEST_F(Control, TheDirectoryIsHiddenAndReadOnly) {
  ASSERT_TRUE(mount());
  DIR* root = opendir(mount_->mountpoint().c_str());
  ASSERT_NE(root, nullptr);
  while (const dirent* entry = readdir(root)) EXPECT_STRNE(entry->d_name, ".larder");
  closedir(root);
  std::set<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(at(".larder"))) {
    names.insert(entry.path().filename());
    EXPECT_NE(unlink(entry.path().c_str()), 0);
  }
  EXPECT_EQ(names, (std::set<std::string>{"status", "stats.json", "metrics", "config", "control"}));
  EXPECT_NE(write_file(at(".larder/new"), "x"), 0);
  EXPECT_NE(mkdir(at(".larder/new").c_str(), 0755), 0);
  EXPECT_NE(rename(at(".larder").c_str(), at("elsewhere").c_str()), 0);
  EXPECT_EQ(stat_error(real(".larder")), ENOENT);
}

TEST_F(Control, OnlyTheOwnerMayLook) {
  ASSERT_TRUE(mount({"allow_other=on"}));
  constexpr uid_t kNobody = 65534;
  CommandOptions as;
  as.uid = as.gid = kNobody;
  const auto result = run_command({"cat", at(".larder/stats.json")}, as);
  EXPECT_NE(result.exit_code, 0);
  EXPECT_THAT(result.err, HasSubstr("ermission denied"));
}

TEST_F(Control, ItsNameCanBeChanged) {
  ASSERT_TRUE(mount({"control_dir=.cache-control"}));
  EXPECT_EQ(stat_error(at(".larder")), ENOENT);
  EXPECT_THAT(read_file(at(".cache-control/status")).data, HasSubstr(source_->mountpoint()));
  EXPECT_EQ(status({"--control-dir", ".cache-control"}).exit_code, 0);
  EXPECT_EQ(status().exit_code, 1);
}

// Larder to look at, but whoever asks it anything waits, and cannot even be killed.
class HungMount : public Control {
 protected:
  void SetUp() override {
    Control::SetUp();
    if (IsSkipped()) return;
    hung_ = std::make_unique<SlowSourceMount>(std::vector<std::string>{"--subtype", "larder"});
    ASSERT_TRUE(hung_->mounted()) << hung_->problem();
    ASSERT_TRUE(hung_->set("hang", "1"));
  }
  static CommandResult larder(std::vector<std::string> words) {
    words.insert(words.begin(), LarderMount::program());
    return run_command(words);
  }
  std::unique_ptr<SlowSourceMount> hung_;
};

TEST_F(HungMount, DoesNotHoldUpTheStatusOfOthers) {
  ASSERT_TRUE(mount());
  for (const bool json : {false, true}) {
    auto words = std::vector<std::string>{"status", "--timeout", "500ms"};
    if (json) words.push_back("--json");
    const auto all = larder(words);
    EXPECT_EQ(all.exit_code, 1);
    EXPECT_THAT(all.out, HasSubstr(mount_->mountpoint()));
    EXPECT_THAT(all.err, HasSubstr(hung_->mountpoint() + ": its daemon does not answer"));
  }
}

TEST_F(HungMount, IsNotWaitedForWhenItIsAskedItself) {
  const auto one = larder({"status", "--timeout", "50ms", hung_->mountpoint()});
  EXPECT_EQ(one.exit_code, 1);
  EXPECT_EQ(one.err, "larder: " + hung_->mountpoint() + ": its daemon does not answer\n");
  EXPECT_EQ(larder({"status", "--timeout", "soon"}).exit_code, 2);
}

TEST_F(HungMount, UmountSaysHowToGetRidOfIt) {
  const auto busy = larder({"umount", hung_->mountpoint()});
  EXPECT_EQ(busy.exit_code, 1);
  EXPECT_THAT(busy.err, HasSubstr("umount -l " + hung_->mountpoint()));
}

}  // namespace
}  // namespace larder::testing_support
