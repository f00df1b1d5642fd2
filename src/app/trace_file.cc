#include "app/trace_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <unordered_map>

namespace larder::app {

namespace {

constexpr size_t kLineMax = 64 << 10;
constexpr std::string_view kBlanks = " \t\r";

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

class TraceBuilder {
 public:
  explicit TraceBuilder(std::string name) : name_(std::move(name)) {}

  Result<void> add_line(std::string_view line) {
    ++line_;
    const std::string_view key = next_word(line);
    if (key.empty() || key.front() == '#' || key.front() == '*') return {};
    if (trace_.keys.size() == kTraceRequestsMax)
      return error(fmt::format("more than {} requests", kTraceRequestsMax));
    uint64_t size = 1;
    uint32_t time_s = 0;
    const std::string_view size_word = next_word(line);
    const std::string_view time_word = next_word(line);
    if (!size_word.empty() && (!parse_whole(size_word, size) || size > kSizeMax))
      return error(fmt::format("bad size '{}': expected KEY [SIZE [TIME]]", size_word));
    if (!time_word.empty() && !parse_whole(time_word, time_s))
      return error(fmt::format("bad time '{}': expected seconds", time_word));
    if (!trace_.times_s.empty() && time_s < trace_.times_s.back())
      return error(fmt::format("time {} is before that of the request before", time_s));
    fill_up(trace_.sizes_bytes, uint64_t{1}, !size_word.empty());
    fill_up(trace_.times_s, uint32_t{0}, !time_word.empty());
    if (!trace_.sizes_bytes.empty() || !size_word.empty()) trace_.sizes_bytes.push_back(size);
    if (!trace_.times_s.empty() || !time_word.empty()) trace_.times_s.push_back(time_s);
    trace_.keys.push_back(id_of(key));
    return {};
  }
  std::unexpected<Error> error(std::string_view what) const {
    return fail(Code::kInvalid, fmt::format("{}:{}: {}", name_, line_, what));
  }
  uint64_t line() const { return line_; }
  evict::Trace take() {
    trace_.distinct = static_cast<uint32_t>(ids_.size());
    return std::move(trace_);
  }

 private:
  static constexpr uint64_t kSizeMax = uint64_t{1} << 50;  // sums of 200 million fit

  // The column of earlier requests, when this one is the first that has it.
  template <class Number>
  void fill_up(std::vector<Number>& column, Number value, bool has_it) {
    if (has_it && column.empty()) column.assign(trace_.keys.size(), value);
  }
  uint32_t id_of(std::string_view key) {
    const auto known = ids_.find(key);
    if (known != ids_.end()) return known->second;
    const auto id = static_cast<uint32_t>(ids_.size());
    ids_.emplace(std::string(key), id);
    return id;
  }

  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view key) const { return std::hash<std::string_view>{}(key); }
  };

  const std::string name_;
  uint64_t line_ = 0;
  evict::Trace trace_;
  std::unordered_map<std::string, uint32_t, Hash, std::equal_to<>> ids_;
};

Result<evict::Trace> read_lines(int fd, const std::string& name) {
  TraceBuilder builder(name);
  std::string pending;
  std::array<char, 256 << 10> chunk;
  for (;;) {
    const ssize_t got = read(fd, chunk.data(), chunk.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail_errno(name);
    if (got == 0) break;
    const std::string_view read_now(chunk.data(), static_cast<size_t>(got));
    if (builder.line() == 0 && pending.empty() && read_now.starts_with("\x1f\x8b"))
      return fail(Code::kInvalid,
                  fmt::format("{} is compressed: `zcat {} | larder simulate -`", name, name));
    pending += read_now;
    size_t taken = 0;
    for (size_t end = 0; (end = pending.find('\n', taken)) != pending.npos; taken = end + 1)
      TRY(builder.add_line(std::string_view(pending).substr(taken, end - taken)));
    pending.erase(0, taken);
    if (pending.size() > kLineMax)
      return fail(Code::kInvalid,
                  fmt::format("{}:{}: longer than 64 KiB", name, builder.line() + 1));
  }
  TRY(builder.add_line(pending));
  evict::Trace trace = builder.take();
  if (trace.keys.empty()) return fail(Code::kInvalid, fmt::format("{}: no request in it", name));
  return trace;
}

}  // namespace

Result<evict::Trace> read_trace(const std::string& path) {
  if (path == "-") return read_lines(STDIN_FILENO, "standard input");
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return fail_errno(path);
  auto trace = read_lines(fd, path);
  close(fd);
  return trace;
}

}  // namespace larder::app
