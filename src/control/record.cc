#include "control/record.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <vector>

namespace larder::control {
namespace {

using State = fs::AccessRecorder::State;
using What = fs::AccessRecorder::What;
using Words = std::vector<std::string>;

// Of one reply: about 50 KB with common paths, 6 MB with the longest.
constexpr size_t kAccessesMax = 512;
constexpr size_t kWordsOfAccess = 4;

constexpr std::array<std::pair<std::string_view, State>, 3> kStates = {
    {{"more", State::kMore}, {"idle", State::kIdle}, {"end", State::kEnd}}};

template <class Number>
bool parse_whole(std::string_view word, Number& number) {
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), number);
  return error == std::errc{} && end == word.data() + word.size();
}

Result<uint64_t> parse_recording(const Words& words, size_t words_max, std::string_view usage) {
  uint64_t recording = 0;
  if (words.empty() || words.size() > words_max || !parse_whole(words.front(), recording))
    return fail(Code::kInvalid, fmt::format("expected: {}", usage));
  return recording;
}

Result<std::string> run_begin(fs::AccessRecorder& recorder, const Words& words) {
  const std::string_view what = words.size() == 1 ? std::string_view(words.front()) : "";
  if (what != "opens" && what != "blocks")
    return fail(Code::kInvalid, "expected: record-begin opens|blocks");
  TRY_ASSIGN(const uint64_t recording,
             recorder.begin(what == "opens" ? What::kOpens : What::kBlocks));
  return fmt::to_string(recording);
}

Result<std::string> run_read(fs::AccessRecorder& recorder, const PathOfNode& path_of,
                             const Words& words) {
  TRY_ASSIGN(const uint64_t recording, parse_recording(words, 1, "record-read RECORDING"));
  TRY_ASSIGN(const fs::AccessRecorder::Batch batch, recorder.fetch(recording, kAccessesMax));
  const auto state =
      std::ranges::find(kStates, batch.state, [](const auto& s) { return s.second; });
  std::string reply = fmt::format("{} {}", state->first, batch.dropped);
  for (const fs::Access& access : batch.accesses)
    reply += " " + format_access(access, path_of(access.node));
  return reply;
}

Result<std::string> run_end(fs::AccessRecorder& recorder, const Words& words) {
  constexpr std::string_view kUsage = "record-end RECORDING [drop]";
  TRY_ASSIGN(const uint64_t recording, parse_recording(words, 2, kUsage));
  const bool drops = words.size() == 2;
  if (drops && words.back() != "drop")
    return fail(Code::kInvalid, fmt::format("expected: {}", kUsage));
  TRY(drops ? recorder.cancel(recording) : recorder.end(recording));
  return std::string();
}

// The next word, with the blank behind it taken off, too.
std::string_view take_word(std::string_view& rest) {
  const std::string_view word = rest.substr(0, rest.find(' '));
  rest.remove_prefix(std::min(word.size() + 1, rest.size()));
  return word;
}

}  // namespace

void add_record_commands(CommandTable& table, fs::AccessRecorder& recorder, PathOfNode path_of) {
  table.add("record-begin", [&recorder](const Words& words) { return run_begin(recorder, words); });
  table.add("record-read", [&recorder, path_of = std::move(path_of)](const Words& words) {
    return run_read(recorder, path_of, words);
  });
  table.add("record-end", [&recorder](const Words& words) { return run_end(recorder, words); });
}

std::string format_access(const fs::Access& access, const std::optional<std::string>& path) {
  std::string key = fmt::to_string(access.node.value);
  if (access.block != fs::Access::kWholeFile) key += fmt::format(":{}", access.block);
  std::string name = path ? encode_word(*path) : "-";
  if (path && name == "-") name = "%2D";
  return fmt::format("{} {} {} {}", key, access.size_bytes, access.time_s, name);
}

Result<RecordedPart> parse_record_read(std::string_view reply) {
  RecordedPart part;
  const auto corrupt = [] { return fail(Code::kCorrupt, "the mount's reply to record-read"); };
  const auto state =
      std::ranges::find(kStates, take_word(reply), [](const auto& s) { return s.first; });
  if (state == kStates.end() || !parse_whole(take_word(reply), part.dropped)) return corrupt();
  part.state = state->second;
  while (!reply.empty()) {
    for (size_t i = 1; i <= kWordsOfAccess; ++i) {
      const std::string_view word = take_word(reply);
      if (word.empty()) return corrupt();
      part.lines += word;
      part.lines += i == kWordsOfAccess ? '\n' : ' ';
    }
    ++part.accesses;
  }
  return part;
}

}  // namespace larder::control
