#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "app/exit_codes.h"
#include "app/trace_file.h"
#include "app/trace_output.h"
#include "app/trace_parser.h"
#include "command_line_testing.h"

namespace larder::app {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class TraceTest : public testing::Test {
 protected:
  TraceTest() {
    std::string name = std::filesystem::temp_directory_path() / "larder-trace-XXXXXX";
    directory_ = mkdtemp(name.data());
    path_ = directory_ + "/trace";
  }
  ~TraceTest() override { std::filesystem::remove_all(directory_); }
  std::string write(const std::string& content) const {
    std::ofstream(path_) << content;
    return path_;
  }
  evict::Trace read(const std::string& content) const {
    auto trace = read_trace(write(content));
    EXPECT_TRUE(trace) << trace.error().message();
    return trace ? std::move(*trace) : evict::Trace{};
  }
  std::string error_of(const std::string& content) const {
    const auto trace = read_trace(write(content));
    return trace ? "no error" : trace.error().detail();
  }

  std::string directory_;
  std::string path_;
};

TEST_F(TraceTest, KeysBecomeNumbersInTheOrderTheyCome) {
  const auto trace = read("b\na\n* a mark\n# a comment\n\n  b \nc");
  EXPECT_THAT(trace.keys, ElementsAre(0, 1, 0, 2));
  EXPECT_EQ(trace.distinct, 3u);
  EXPECT_THAT(trace.sizes_bytes, IsEmpty());
  EXPECT_THAT(trace.times_s, IsEmpty());
}

TEST_F(TraceTest, SizesAndTimesMayBeThereOrNot) {
  const auto trace = read("a\nb 20\r\na 30 5 /what/it is\nc\t40\t6\n");
  EXPECT_THAT(trace.keys, ElementsAre(0, 1, 0, 2));
  EXPECT_THAT(trace.sizes_bytes, ElementsAre(1, 20, 30, 40));
  EXPECT_THAT(trace.times_s, ElementsAre(0, 0, 5, 6));
}

TEST_F(TraceTest, ErrorsNameTheLine) {
  EXPECT_EQ(error_of("a 1\nb many\n"), path_ + ":2: bad size 'many': expected KEY [SIZE [TIME]]");
  EXPECT_EQ(error_of("a 1 x\n"), path_ + ":1: bad time 'x': expected seconds");
  EXPECT_EQ(error_of("a 1 9\na 1 8\n"), path_ + ":2: time 8 is before that of the request before");
  EXPECT_THAT(error_of("a 99999999999999999999\n"), HasSubstr("bad size"));
  EXPECT_THAT(error_of("a -1\n"), HasSubstr("bad size"));
  EXPECT_EQ(error_of("* nothing\n"), path_ + ": no request in it");
  EXPECT_THAT(error_of("a\n" + std::string(100'000, 'x')), HasSubstr(":2: longer than 64 KiB"));
}

TEST_F(TraceTest, ErrorsStayShortAndSum) {
  EXPECT_EQ(error_of("a " + std::string(1000, '\x1b')),
            path_ + ":1: bad size '" + std::string(40, '?') + "...': expected KEY [SIZE [TIME]]");
  std::string text;
  for (int i = 0; i < 8192; ++i) text += "a 1125899906842624\n";
  EXPECT_EQ(read(text).keys.size(), 8192u);
  EXPECT_EQ(error_of(text + "b 1\n"), path_ + ":8193: more than 8 EiB asked for");
}

TEST_F(TraceTest, TheCutsBetweenPiecesDoNotMatter) {
  const std::string text = "one 20 5\n# no\ntwo 30 6 path\r\none 20 7";
  for (size_t piece_bytes = 1; piece_bytes <= text.size(); ++piece_bytes) {
    TraceParser parser("text");
    for (size_t at = 0; at < text.size(); at += piece_bytes)
      ASSERT_TRUE(parser.add(text.substr(at, piece_bytes)));
    const auto trace = parser.finish();
    ASSERT_TRUE(trace) << piece_bytes;
    EXPECT_THAT(trace->keys, ElementsAre(0, 1, 0));
    EXPECT_THAT(trace->sizes_bytes, ElementsAre(20, 30, 20));
    EXPECT_THAT(trace->times_s, ElementsAre(5, 6, 7));
  }
  for (const size_t length : {kTraceLineMax, kTraceLineMax + 1}) {
    const bool fits = length == kTraceLineMax;
    const std::string line = std::string(length, 'x') + "\n";
    EXPECT_EQ(TraceParser("whole").add(line).has_value(), fits);
    TraceParser halves("halves");
    const bool first = halves.add(line.substr(0, length)).has_value();
    EXPECT_EQ(first && halves.add("\n"), fits);
  }
}

TEST_F(TraceTest, AnOutputWithSomethingInItIsNotOverwritten) {
  write("precious");
  EXPECT_EQ(TraceOutput::open(path_, false).error().detail(),
            path_ + " is not empty; --force overwrites it");
  const auto put = [this](bool force) {
    auto output = TraceOutput::open(path_, force);
    EXPECT_TRUE(output) << output.error().detail();
    EXPECT_TRUE(output && output->write("a 1 1 x\n") && output->close());
    return read_trace(path_)->keys.size();
  };
  EXPECT_EQ(put(true), 1u);
  write("");
  EXPECT_EQ(put(false), 1u) << "an empty file is none to be lost";
  EXPECT_THAT(TraceOutput::open("/nonexistent/x", false).error().detail(),
              "/nonexistent/x: No such file or directory");
  auto full = TraceOutput::open("/dev/full", false);
  ASSERT_TRUE(full);
  EXPECT_EQ(full->write("x").error().detail(), "/dev/full: No space left on device");
}

TEST_F(TraceTest, RecordRefusesWhatIsNoMount) {
  const auto no_mount = run({"record", directory_});
  EXPECT_EQ(no_mount.code, kExitFailed);
  EXPECT_EQ(no_mount.err,
            "larder: '" + directory_ + "' is not on a larder mount: `larder status` lists them\n");
  for (const std::vector<std::string>& bad : {std::vector<std::string>{"record"},
                                              {"record", "--seconds", "0", "/x"},
                                              {"record", "--seconds", "soon", "/x"},
                                              {"record", "--sometimes", "/x"}}) {
    const auto refused = run(bad);
    EXPECT_EQ(refused.code, kExitUsage);
    EXPECT_EQ(std::ranges::count(refused.err, '\n'), 1) << refused.err;
  }
}

TEST_F(TraceTest, ACompressedTraceSaysWhatToDo) {
  EXPECT_EQ(error_of("\x1f\x8b\x08\x01 and so on"),
            path_ + " is compressed: `zcat " + path_ + " | larder simulate -`");
}

TEST_F(TraceTest, SimulatePrintsATableAndJson) {
  write("a\nb\nc\na\nb\nc\n");
  const auto table = run({"simulate", path_, "--policy", "lru,lfu", "--size", "2,3"});
  EXPECT_EQ(table.code, kExitOk) << table.err;
  EXPECT_THAT(table.out, AllOf(HasSubstr("6 requests for 3 keys"), HasSubstr("optimum"),
                               HasSubstr("33.33%"), HasSubstr("50.00%")));
  const auto json = run({"simulate", path_, "--policy", "lru", "--size", "3", "--json"});
  EXPECT_EQ(
      json.out,
      R"({"requests":6,"keys":3,"size_unit":"items","results":[)"
      R"({"policy":"lru","size":3,"hit_ratio":0.500000,"byte_hit_ratio":0.500000,"hits":3,"requests":6},)"
      R"({"policy":"optimum","size":3,"hit_ratio":0.500000,"byte_hit_ratio":0.500000,"hits":3,"requests":6}]})"
      "\n");
}

TEST_F(TraceTest, SimulateCountsBytesWhenThereAreSizes) {
  write("a 1024\nb 1024\na 1024\nb 1024\nbig 10240\n");
  const auto table = run({"simulate", path_, "--policy", "lru", "--size", "2K"});
  EXPECT_THAT(table.out, AllOf(HasSubstr("40.00%"), HasSubstr("byte hit ratio"),
                               HasSubstr("14.29%"), HasSubstr("upper bound")));
  const auto json = run({"simulate", path_, "--size", "2K", "--json"});
  EXPECT_THAT(json.out, AllOf(HasSubstr(R"("size":2048)"), HasSubstr(R"("upper_bound":true)"),
                              HasSubstr(R"("policy":"hybrid")"), HasSubstr(R"("policy":"ttl")")));
}

TEST_F(TraceTest, SimulateRefusesWhatItCannotDo) {
  write("a\n");
  for (const auto& words : std::vector<std::vector<std::string>>{
           {"simulate", path_},
           {"simulate", "--size", "3"},
           {"simulate", path_, "--pattern", "zipf", "--size", "3"},
           {"simulate", path_, "--size", "0"},
           {"simulate", path_, "--size", "1x"},
           {"simulate", path_, "--size", "1", "--ttl", "soon"},
           {"simulate", path_, "--size", "1", "--policy", "mru"},
           {"simulate", "--pattern", "noise", "--size", "3"}}) {
    const auto outcome = run(words);
    EXPECT_EQ(outcome.code, kExitUsage) << testing::PrintToString(words);
    EXPECT_EQ(std::ranges::count(outcome.err, '\n'), 1) << outcome.err;
    EXPECT_THAT(outcome.out, IsEmpty());
  }
  const auto missing = run({"simulate", path_ + "x", "--size", "3"});
  EXPECT_EQ(missing.code, kExitFailed);
  EXPECT_THAT(missing.err, HasSubstr(path_ + "x"));
}

}  // namespace
}  // namespace larder::app
