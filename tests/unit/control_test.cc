#include "larder/control.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <charconv>
#include <cmath>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "control/client.h"
#include "control/command.h"
#include "control/control_directory.h"
#include "control/exposition.h"
#include "control/metric_name.h"
#include "control/record.h"
#include "control/warm.h"

namespace larder::control {
namespace {

using testing::AllOf;
using testing::AnyOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;
using Json = nlohmann::json;
using std::chrono::microseconds;
using std::chrono::milliseconds;

// A reader of the text exposition format that is strict about what it accepts.
struct Exposition {
  std::map<std::string, std::string> types;
  std::map<std::string, double> samples;  // by name and labels, as written

  static Exposition parse(const std::string& text) {
    Exposition parsed;
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);) {
      if (line.starts_with("# HELP ")) continue;
      if (line.starts_with("# TYPE ")) {
        const size_t space = line.find(' ', 7);
        const std::string name = line.substr(7, space - 7);
        EXPECT_FALSE(parsed.types.contains(name)) << "a family comes twice: " << name;
        parsed.types[name] = line.substr(space + 1);
        continue;
      }
      const size_t space = line.rfind(' ');
      double value = NAN;
      const auto [end, error] =
          std::from_chars(line.data() + space + 1, line.data() + line.size(), value);
      EXPECT_TRUE(error == std::errc{} && end == line.data() + line.size()) << line;
      EXPECT_TRUE(parsed.samples.emplace(line.substr(0, space), value).second) << line;
    }
    return parsed;
  }
};

class Metrics : public testing::Test {
 protected:
  Metrics() {
    registry_.counter("larder_reads_hits_total", "Reads served from the cache").add(3);
    registry_.counter("larder_reads_misses_total", "Reads that asked the source").add(1);
    registry_.counter("larder_source_calls_total", "Calls", {{"op", "read"}}).add(5);
    registry_.counter("larder_source_calls_total", "Calls", {{"op", "open"}}).add(2);
    registry_.gauge("larder_cache_used_bytes", "Bytes in the cache").set(3 << 20);
    registry_.gauge_callback("larder_fills", "Fills in flight", [] { return 7; });
    latency_ = &registry_.histogram("larder_source_read_seconds", "Source reads");
    for (int i = 0; i < 100; ++i) latency_->record(i < 98 ? microseconds(100) : milliseconds(50));
    facts_.version = "1.2.3";
    facts_.pid = 4711;
    facts_.source = "/far";
    facts_.mountpoint = "/near";
    facts_.cache_dir = "/cache";
    facts_.control_dir = ".larder";
    facts_.engine = "uring";
    facts_.passthrough = [] { return "on"; };
    facts_.started = clock_.monotonic();
    clock_.advance(std::chrono::seconds(90));
  }
  Json stats() { return Json::parse(stats_json(registry_, facts_, clock_)); }

  ManualClock clock_;
  Registry registry_;
  Histogram* latency_;
  MountFacts facts_;
};

TEST_F(Metrics, PrometheusTextParsesBack) {
  const auto parsed = Exposition::parse(prometheus_text(registry_));
  EXPECT_EQ(parsed.samples.at("larder_reads_hits_total"), 3);
  EXPECT_EQ(parsed.samples.at("larder_source_calls_total{op=\"read\"}"), 5);
  EXPECT_EQ(parsed.samples.at("larder_source_calls_total{op=\"open\"}"), 2);
  EXPECT_EQ(parsed.samples.at("larder_cache_used_bytes"), 3 << 20);
  EXPECT_EQ(parsed.samples.at("larder_fills"), 7);
  EXPECT_EQ(parsed.types.at("larder_source_calls_total"), "counter");
  EXPECT_EQ(parsed.types.at("larder_cache_used_bytes"), "gauge");
  EXPECT_EQ(parsed.types.at("larder_source_read_seconds"), "histogram");
}

TEST_F(Metrics, PrometheusHistogramsAreCumulativeAndComplete) {
  const auto parsed = Exposition::parse(prometheus_text(registry_));
  double below = 0;
  int buckets = 0;
  std::map<double, double> by_limit;
  for (const auto& [name, value] : parsed.samples) {
    const std::string prefix = "larder_source_read_seconds_bucket{le=\"";
    if (!name.starts_with(prefix)) continue;
    const std::string limit = name.substr(prefix.size(), name.size() - prefix.size() - 2);
    by_limit[limit == "+Inf" ? INFINITY : std::stod(limit)] = value;
    ++buckets;
  }
  for (const auto& [limit, count] : by_limit) {
    EXPECT_GE(count, below);
    below = count;
    EXPECT_EQ(count, limit < 1e-4 ? 0 : limit < 0.05 ? 98 : 100) << limit;
  }
  EXPECT_GT(buckets, 10);
  EXPECT_TRUE(by_limit.contains(INFINITY));
  EXPECT_EQ(parsed.samples.at("larder_source_read_seconds_count"), 100);
  EXPECT_NEAR(parsed.samples.at("larder_source_read_seconds_sum"), 98e-4 + 0.1, 1e-6);
}

TEST_F(Metrics, JsonGroupsByName) {
  const Json json = stats();
  EXPECT_EQ(json["schema"], kStatsSchema);
  EXPECT_EQ(json["version"], "1.2.3");
  EXPECT_EQ(json["pid"], 4711);
  EXPECT_EQ(json["source"], "/far");
  EXPECT_EQ(json["engine"], "uring");
  EXPECT_EQ(json["uptime_s"], 90.0);
  EXPECT_EQ(json["metrics"]["reads"]["hits"], 3);
  EXPECT_EQ(json["metrics"]["reads"]["hit_ratio"], 0.75);
  EXPECT_EQ(json["metrics"]["cache"]["used_bytes"], 3 << 20);
  EXPECT_EQ(json["metrics"]["other"]["fills"], 7);
  EXPECT_EQ(json["metrics"]["source"]["calls"]["read"], 5);
  EXPECT_EQ(json["latency"]["source_read"]["count"], 100);
  EXPECT_EQ(json["latency"]["source_read"]["p50_ns"], latency_->quantile(0.5).count());
  EXPECT_EQ(json["latency"]["source_read"]["p99_ns"], latency_->quantile(0.99).count());
}

TEST_F(Metrics, HitRatioIsNullBeforeTheFirstRead) {
  Registry fresh;
  fresh.counter("larder_reads_hits_total", "");
  fresh.counter("larder_reads_misses_total", "");
  const Json json = Json::parse(stats_json(fresh, facts_, clock_));
  EXPECT_TRUE(json["metrics"]["reads"]["hit_ratio"].is_null());
}

TEST_F(Metrics, NamesThatAreNotUtf8StillGiveJson) {
  facts_.source = "/far/\xff";
  EXPECT_FALSE(stats().is_discarded());
}

TEST_F(Metrics, StatusIsForPeople) {
  Registry registry;
  registry.counter("larder_read_hits_total", "", {{"tier", "memory"}}).add(2000);
  registry.counter("larder_read_hits_total", "", {{"tier", "disk"}}).add(1000);
  registry.counter("larder_read_misses_total", "").add(1000);
  registry.gauge("larder_cache_used_bytes", "").set(3 << 20);
  registry.gauge("larder_cache_limit_bytes", "").set(12 << 20);
  registry.counter("larder_opens_total", "", {{"mode", "passthrough"}}).add(17);
  registry.counter("larder_source_calls_total", "", {{"kind", "set_xattr"}});
  registry.histogram("larder_read_hit_seconds", "").record(microseconds(3));
  Counter& failed = registry.counter("larder_source_errors_total", "", {{"kind", "read"}});
  const std::string text = status_text(registry, facts_, clock_);
  EXPECT_THAT(text, AllOf(HasSubstr("larder 1.2.3"), HasSubstr("/far"), HasSubstr("1 min 30 s"),
                          HasSubstr("3,000 (75.0 %): 2,000 from memory, 1,000 from disk"),
                          HasSubstr("3.0 MiB of 12.0 MiB (25.0 %)"), HasSubstr("17 in passthrough"),
                          HasSubstr("up\n"), HasSubstr("p50")));
  EXPECT_THAT(text, Not(AnyOf(HasSubstr("errors"), HasSubstr("warming"), HasSubstr("xattr"),
                              HasSubstr("measured"))));
  std::set<size_t> columns;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);)
    if (line.starts_with("  ")) columns.insert(line.find_first_not_of(' ', line.find("  ", 2)));
  EXPECT_EQ(columns.size(), 1u) << text;
  failed.add(5);
  registry.gauge("larder_source_breaker_state", "").set(1);
  EXPECT_THAT(status_text(registry, facts_, clock_),
              AllOf(HasSubstr("errors\n"), HasSubstr("source failed"), HasSubstr("down: ")));
  registry.gauge("larder_cache_measured_bytes", "").set(5 << 20);
  registry.gauge("larder_cache_measured_at_seconds", "")
      .set(std::chrono::duration_cast<std::chrono::seconds>(clock_.wall()).count() - 7260);
  EXPECT_THAT(status_text(registry, facts_, clock_), HasSubstr("5.0 MiB, 2 h 1 min ago"));
}

TEST(Human, Units) {
  EXPECT_EQ(human_bytes(0), "0 B");
  EXPECT_EQ(human_bytes(1023), "1023 B");
  EXPECT_EQ(human_bytes(1536), "1.5 KiB");
  EXPECT_EQ(human_bytes(5e12), "4.5 TiB");
  EXPECT_EQ(human_duration(Nanos(950)), "950 ns");
  EXPECT_EQ(human_duration(microseconds(1200)), "1.2 ms");
  EXPECT_EQ(human_duration(std::chrono::seconds(3)), "3.0 s");
}

TEST(MetricNames, SplitByRule) {
  EXPECT_EQ(split_metric_name("larder_reads_hit_bytes_total").group, "reads");
  EXPECT_EQ(split_metric_name("larder_reads_hit_bytes_total").field, "hit_bytes");
  EXPECT_EQ(split_metric_name("larder_evictions_total").group, "other");
  EXPECT_EQ(latency_name("larder_source_read_seconds"), "source_read");
  EXPECT_EQ(latency_name("larder_read_hit_latency_ns"), "read_hit");
  EXPECT_EQ(seconds_name("larder_x_ns"), "larder_x_seconds");
  EXPECT_EQ(seconds_name("larder_x"), "larder_x_seconds");
}

TEST(Command, WordsOfAnyBytesComeBack) {
  std::string every_byte;
  for (int byte = 0; byte < 256; ++byte) every_byte += static_cast<char>(byte);
  const std::string word = encode_word(every_byte);
  EXPECT_EQ(word.find_first_of(" \n\t"), std::string::npos);
  EXPECT_EQ(*decode_word(word), every_byte);
  EXPECT_EQ(encode_word("a b%"), "a%20b%25");
  for (const char* bad : {"%", "%2", "%zz", "%2z", "a%"}) EXPECT_FALSE(decode_word(bad)) << bad;
}

TEST(Command, EachLineHasOneReplyInOrder) {
  CommandTable table;
  std::vector<std::vector<std::string>> calls;
  table.add("say", [&](const std::vector<std::string>& words) -> Result<std::string> {
    calls.push_back(words);
    return words.empty() ? "" : words.front();
  });
  table.add("fail", [](const std::vector<std::string>& words) -> Result<std::string> {
    return fail(words.empty() ? Code::kNotFound : Code::kTimedOut, "it");
  });
  EXPECT_EQ(table.run("say a%20b  c\n\nsay\nfail\nfail x\nsay last"),
            "ok a b\n"
            "ok\n"
            "error ENOENT it: No such file or directory\n"
            "error timed-out it: the source did not answer in time\n"
            "ok last\n");
  EXPECT_THAT(calls, ElementsAre(ElementsAre("a b", "c"), ElementsAre(), ElementsAre("last")));
}

TEST(Command, UnknownOnesNameTheKnown) {
  CommandTable table;
  table.add("zap", [](const std::vector<std::string>&) -> Result<std::string> { return ""; });
  EXPECT_EQ(table.run("zip\n"),
            "error EINVAL unknown command 'zip', known are: help zap: Invalid argument\n");
  EXPECT_EQ(table.run("help\n"), "ok help zap\n");
  EXPECT_EQ(table.run("say%2\n"), "error EINVAL bad escape in 'say%2': Invalid argument\n");
  EXPECT_EQ(table.run(""), "");
  EXPECT_THAT(table.run(std::string(kControlWriteMax + 1, 'x')), HasSubstr("error limit "));
}

TEST(Command, RepliesStayOnOneLine) {
  CommandTable table;
  table.add("two", [](const std::vector<std::string>&) -> Result<std::string> { return "a\nb"; });
  EXPECT_EQ(table.run("two"), "ok a b\n");
}

class ScriptedWarmer final : public WarmService {
 public:
  Result<uint64_t> begin(uint64_t client) override {
    clients.push_back(client);
    return 7;
  }
  void abandon(uint64_t client) override { std::erase(clients, client); }
  Result<Added> add(uint64_t job, std::string path, bool recursive) override {
    if (job != 7) return fail(Code::kNotFound, "job");
    added.push_back((recursive ? "r:" : "") + path);
    return added.size() > queue_max ? Added::kBusy : Added::kAccepted;
  }
  Result<void> end(uint64_t) override {
    ended = true;
    return {};
  }
  Result<WarmStatus> status(uint64_t) override {
    return WarmStatus{4, 3, 1, 0, 100, 200, true, {"a\xff: Input/output error"}, {"b"}};
  }
  std::vector<std::string> added;
  size_t queue_max = 2;
  bool ended = false;
  std::vector<uint64_t> clients;
};

TEST(WarmCommands, SteerTheService) {
  ScriptedWarmer warmer;
  CommandTable table;
  add_warm_commands(table, warmer);
  EXPECT_EQ(
      table.run("warm-begin\nwarm-add 7 a%20b\nwarm-add 7 r dir\nwarm-add 7 more\nwarm-end 7\n"),
      "ok 7\nok 1 accepted\nok 1 accepted\nok busy 0\nok\n");
  EXPECT_THAT(warmer.added, ElementsAre("a b", "r:dir", "more"));
  EXPECT_TRUE(warmer.ended);
  EXPECT_THAT(table.run("warm-add 8 x\n"), HasSubstr("error ENOENT"));
  for (const char* bad : {"warm-begin x", "warm-add 7", "warm-add x y", "warm-add 7 q y",
                          "warm-end", "warm-status 7 8", "warm-end 7x"})
    EXPECT_THAT(table.run(bad), HasSubstr("error EINVAL expected: warm-")) << bad;
}

TEST(WarmCommands, AJobEndsWithItsClient) {
  ScriptedWarmer warmer;
  CommandTable table;
  add_warm_commands(table, warmer);
  EXPECT_EQ(table.run("warm-begin\n", 3), "ok 7\n");
  EXPECT_EQ(table.run("warm-begin\n", 4), "ok 7\n");
  table.closed(3);
  EXPECT_THAT(warmer.clients, ElementsAre(4));
}

TEST(WarmCommands, StatusParsesBack) {
  ScriptedWarmer warmer;
  CommandTable table;
  add_warm_commands(table, warmer);
  const std::string reply = table.run("warm-status 7\n");
  ASSERT_TRUE(reply.starts_with("ok {")) << reply;
  const auto status = parse_warm_status(reply.substr(3));
  ASSERT_TRUE(status);
  EXPECT_EQ(status->files_total, 4u);
  EXPECT_EQ(status->files_done, 3u);
  EXPECT_EQ(status->files_missing, 1u);
  EXPECT_EQ(status->files_failed, 0u);
  EXPECT_EQ(status->bytes_done, 100u);
  EXPECT_EQ(status->bytes_total, 200u);
  EXPECT_TRUE(status->done);
  EXPECT_EQ(status->errors.size(), 1u);
  EXPECT_THAT(status->missing, ElementsAre("b"));
  for (const char* bad : {"", "{", "[]", "{}", "{\"done\":1}"})
    EXPECT_FALSE(parse_warm_status(bad)) << bad;
}

class RecordCommands : public testing::Test {
 protected:
  RecordCommands() {
    add_record_commands(table_, recorder_, [](NodeId node) -> std::optional<std::string> {
      if (node == NodeId{9}) return std::nullopt;
      return node == NodeId{8} ? "-" : "a b\n%" + std::to_string(node.value);
    });
  }
  std::string begin(const std::string& what) const {
    const std::string reply = table_.run("record-begin " + what);
    EXPECT_TRUE(reply.starts_with("ok ")) << reply;
    return reply.substr(3, reply.size() - 4);
  }
  RecordedPart read(const std::string& recording) const {
    const std::string reply = table_.run("record-read " + recording);
    const auto part = parse_record_read(std::string_view(reply).substr(3, reply.size() - 4));
    EXPECT_TRUE(part) << reply;
    return part.value_or(RecordedPart{});
  }

  ManualClock clock_;
  Registry registry_;
  fs::AccessRecorder recorder_{clock_, registry_};
  CommandTable table_;
};

TEST_F(RecordCommands, GiveLinesOfATrace) {
  const std::string recording = begin("opens");
  recorder_.note_open(NodeId{7}, 4096);
  recorder_.note_open(NodeId{8}, 0);
  recorder_.note_open(NodeId{9}, 8192);
  const RecordedPart part = read(recording);
  const std::string time = " " + std::to_string(1'700'000'001) + " ";
  EXPECT_EQ(part.lines,
            "7 4096" + time + "a%20b%0A%257\n8 0" + time + "%2D\n9 8192" + time + "-\n");
  EXPECT_EQ(part.accesses, 3u);
  EXPECT_EQ(part.dropped, 0u);
  EXPECT_EQ(part.state, fs::AccessRecorder::State::kIdle);
  EXPECT_EQ(read(recording).lines, "");
  EXPECT_EQ(table_.run("record-end " + recording), "ok\n");
  EXPECT_EQ(table_.run("record-read " + recording), "ok end 0\n");
  EXPECT_THAT(table_.run("record-read " + recording), HasSubstr("error ENOENT"));
}

TEST_F(RecordCommands, BlocksHaveTheirNumberInTheKey) {
  const std::string recording = begin("blocks");
  recorder_.note_read({NodeId{8}, 0, 5000, 5000, 4096});
  EXPECT_EQ(read(recording).lines, "8:0 4096 1700000001 %2D\n8:1 904 1700000001 %2D\n");
}

TEST_F(RecordCommands, LongOnesComeInParts) {
  const std::string recording = begin("opens");
  constexpr size_t kAccesses = 2000;
  for (size_t i = 0; i < kAccesses; ++i) recorder_.note_open(NodeId{1}, i);
  size_t parts = 1, accesses = 0;
  for (RecordedPart part = read(recording);; part = read(recording), ++parts) {
    accesses += part.accesses;
    if (part.state == fs::AccessRecorder::State::kIdle) break;
  }
  EXPECT_EQ(accesses, kAccesses);
  EXPECT_GT(parts, 2u);
}

TEST_F(RecordCommands, RefuseWhatTheyDoNotKnow) {
  for (const char* bad : {"record-begin", "record-begin all", "record-begin opens 2", "record-read",
                          "record-read x", "record-read 1 2", "record-end", "record-end 1 all",
                          "record-end 1 drop 2", "record-end 1x"})
    EXPECT_THAT(table_.run(bad), HasSubstr("error EINVAL expected: record-")) << bad;
  const std::string recording = begin("opens");
  EXPECT_THAT(table_.run("record-begin blocks"), HasSubstr("error EBUSY"));
  recorder_.note_open(NodeId{7}, 4096);
  EXPECT_EQ(table_.run("record-end " + recording + " drop"), "ok\n");
  EXPECT_THAT(table_.run("record-end " + recording), HasSubstr("error ENOENT"));
  for (const char* bad : {"", "more", "often 1", "more x", "idle 0 7 4096 1", "idle 0 7  4096 1 a",
                          "idle 0  7 4096 1 a"})
    EXPECT_FALSE(parse_record_read(bad)) << bad;
}

TEST_F(RecordCommands, TheStatusPageShowsARecordingWhileItGoesOn) {
  MountFacts facts;
  facts.passthrough = [] { return "on"; };
  EXPECT_THAT(status_text(registry_, facts, clock_), Not(HasSubstr("being recorded")));
  begin("opens");
  recorder_.note_open(NodeId{7}, 4096);
  EXPECT_THAT(status_text(registry_, facts, clock_),
              AllOf(HasSubstr("being recorded"), HasSubstr("1 since the mount, 0 dropped")));
}

TEST_F(Metrics, TheDirectoryHasItsFiles) {
  CommandTable commands;
  const ControlDirectory directory(
      registry_, clock_, facts_, [] { return "[mount]\n"; }, std::move(commands));
  EXPECT_EQ(directory.name(), ".larder");
  std::map<std::string, const fs::VirtualFile*> files;
  for (const fs::VirtualFile& file : directory.files()) files[file.name] = &file;
  ASSERT_EQ(files.size(), 5u);
  for (const char* name : {kStatusFile, kStatsFile, kMetricsFile, kConfigFile}) {
    EXPECT_EQ(files.at(name)->permissions, 0400u);
    EXPECT_FALSE(files.at(name)->write);
    EXPECT_FALSE(files.at(name)->read().empty());
  }
  EXPECT_EQ(files.at(kControlFile)->permissions, 0600u);
  EXPECT_EQ(files.at(kControlFile)->read(), "");
  EXPECT_EQ(files.at(kControlFile)->write("help\n", 1), "ok help\n");
  files.at(kControlFile)->closed(1);
  EXPECT_EQ(*parse_pid(files.at(kStatsFile)->read()), 4711);
}

TEST(Client, PidOfDamagedStatsIsAnError) {
  for (const char* bad : {"", "{}", "{\"pid\":\"x\"}", "nonsense"})
    EXPECT_FALSE(parse_pid(bad)) << bad;
}

TEST(Client, ReadsAFileAndReportsAMissingOne) {
  const auto text = read_virtual_file("/proc/self/comm", std::chrono::seconds(10));
  ASSERT_TRUE(text);
  EXPECT_THAT(*text, HasSubstr("unit_control"));
  const auto missing = read_virtual_file("/nonexistent", std::chrono::seconds(10));
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code(), Code::kNotFound);
}

}  // namespace
}  // namespace larder::control
