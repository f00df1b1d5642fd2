#include "app/trace_parser.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

namespace larder::app {
namespace {

constexpr std::string_view kBlanks = " \t\r";
constexpr uint64_t kSizeMax = uint64_t{1} << 50;
constexpr uint64_t kTotalBytesMax = uint64_t{1} << 63;  // what is summed up stays a number

std::string_view next_word(std::string_view& line) {
  line.remove_prefix(std::min(line.find_first_not_of(kBlanks), line.size()));
  const std::string_view word = line.substr(0, line.find_first_of(kBlanks));
  line.remove_prefix(word.size());
  return word;
}

template <class Number>
bool parse_whole(std::string_view word, Number& number) {
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), number);
  return error == std::errc{} && end == word.data() + word.size();
}

// For an error's line: its beginning, without what a terminal would take for more than text.
std::string shown(std::string_view word) {
  constexpr size_t kShownMax = 40;
  std::string text(word.substr(0, kShownMax));
  std::ranges::replace_if(
      text, [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }, '?');
  return word.size() > kShownMax ? text + "..." : text;
}

// The column of earlier requests, when this one is the first that has it.
template <class Number>
void fill_up(std::vector<Number>& column, size_t requests, Number value, bool has_it) {
  if (has_it && column.empty()) column.assign(requests, value);
}

}  // namespace

Result<void> TraceParser::add(std::string_view text) {
  for (size_t end = 0; (end = text.find('\n')) != text.npos; text.remove_prefix(end + 1)) {
    if (pending_.empty()) {
      TRY(add_line(text.substr(0, end)));
      continue;
    }
    pending_ += text.substr(0, end);
    TRY(add_line(pending_));
    pending_.clear();
  }
  pending_ += text;
  if (pending_.size() <= kTraceLineMax) return {};
  ++line_;
  return error("longer than 64 KiB");
}

Result<evict::Trace> TraceParser::finish() {
  TRY(add_line(pending_));
  if (trace_.keys.empty()) return fail(Code::kInvalid, fmt::format("{}: no request in it", name_));
  trace_.distinct = static_cast<uint32_t>(ids_.size());
  return std::move(trace_);
}

Result<void> TraceParser::add_line(std::string_view line) {
  ++line_;
  if (line.size() > kTraceLineMax) return error("longer than 64 KiB");
  const std::string_view key = next_word(line);
  if (key.empty() || key.front() == '#' || key.front() == '*') return {};
  if (trace_.keys.size() == kTraceRequestsMax)
    return error(fmt::format("more than {} requests", kTraceRequestsMax));
  uint64_t size = 1;
  uint32_t time_s = 0;
  const std::string_view size_word = next_word(line);
  const std::string_view time_word = next_word(line);
  if (!size_word.empty() && (!parse_whole(size_word, size) || size > kSizeMax))
    return error(fmt::format("bad size '{}': expected KEY [SIZE [TIME]]", shown(size_word)));
  if (!time_word.empty() && !parse_whole(time_word, time_s))
    return error(fmt::format("bad time '{}': expected seconds", shown(time_word)));
  if (!trace_.times_s.empty() && time_s < trace_.times_s.back())
    return error(fmt::format("time {} is before that of the request before", time_s));
  total_bytes_ += size;
  if (total_bytes_ > kTotalBytesMax) return error("more than 8 EiB asked for");
  const size_t requests = trace_.keys.size();
  fill_up(trace_.sizes_bytes, requests, uint64_t{1}, !size_word.empty());
  fill_up(trace_.times_s, requests, uint32_t{0}, !time_word.empty());
  if (!trace_.sizes_bytes.empty() || !size_word.empty()) trace_.sizes_bytes.push_back(size);
  if (!trace_.times_s.empty() || !time_word.empty()) trace_.times_s.push_back(time_s);
  trace_.keys.push_back(id_of(key));
  return {};
}

std::unexpected<Error> TraceParser::error(std::string_view what) const {
  return fail(Code::kInvalid, fmt::format("{}:{}: {}", name_, line_, what));
}

uint32_t TraceParser::id_of(std::string_view key) {
  const auto known = ids_.find(key);
  if (known != ids_.end()) return known->second;
  const auto id = static_cast<uint32_t>(ids_.size());
  ids_.emplace(std::string(key), id);
  return id;
}

}  // namespace larder::app
