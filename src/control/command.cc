#include "control/command.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "larder/control.h"

namespace larder::control {
namespace {

int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

// The next part of `rest` up to the separator; removes both.
std::string_view take_part(std::string_view& rest, char separator) {
  const size_t end = rest.find(separator);
  const std::string_view part = rest.substr(0, end);
  rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
  return part;
}

std::string one_line(std::string text) {
  std::ranges::replace(text, '\n', ' ');
  return text;
}

std::string reply_line(const Result<std::string>& result) {
  if (result) return one_line(result->empty() ? "ok" : "ok " + *result) + "\n";
  return one_line(fmt::format("error {} {}", code_word(result.error().code()),
                              result.error().message())) +
         "\n";
}

}  // namespace

std::string encode_word(std::string_view plain) {
  std::string word;
  for (const char c : plain) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte <= 0x20 || byte == '%' || byte == 0x7f)
      word += fmt::format("%{:02X}", byte);
    else
      word += c;
  }
  return word;
}

Result<std::string> decode_word(std::string_view word) {
  std::string plain;
  for (size_t i = 0; i < word.size(); ++i) {
    if (word[i] != '%') {
      plain += word[i];
      continue;
    }
    const int high = i + 2 < word.size() ? hex_value(word[i + 1]) : -1;
    const int low = high >= 0 ? hex_value(word[i + 2]) : -1;
    if (low < 0) return fail(Code::kInvalid, fmt::format("bad escape in '{}'", word));
    plain += static_cast<char>(high * 16 + low);
    i += 2;
  }
  return plain;
}

std::string code_word(Code code) {
  switch (code) {
    case Code::kCorrupt:
      return "corrupt";
    case Code::kNewerFormat:
      return "newer-format";
    case Code::kCancelled:
      return "cancelled";
    case Code::kTimedOut:
      return "timed-out";
    case Code::kSourceDown:
      return "source-down";
    case Code::kLimit:
      return "limit";
    case Code::kShort:
      return "short";
    case Code::kPoisoned:
      return "poisoned";
    case Code::kLocked:
      return "locked";
    default:
      break;
  }
  const char* name = strerrorname_np(static_cast<int>(code));
  return name != nullptr ? name : "EIO";
}

void CommandTable::add(const std::string& name, CommandHandler handler) {
  add(name, [handler = std::move(handler)](const std::vector<std::string>& words,
                                           uint64_t /*client*/) { return handler(words); });
}

void CommandTable::add(const std::string& name, ClientCommandHandler handler) {
  CHECK_MSG(handlers_.emplace(name, std::move(handler)).second, name);
}

void CommandTable::add_closed(std::function<void(uint64_t)> handler) {
  closed_handlers_.push_back(std::move(handler));
}

void CommandTable::closed(uint64_t client) const {
  for (const auto& handler : closed_handlers_) handler(client);
}

std::string CommandTable::names() const {
  std::string text = "help";
  for (const auto& [name, handler] : handlers_) text += " " + name;
  return text;
}

Result<std::string> CommandTable::run_line(std::string_view line, uint64_t client) const {
  std::vector<std::string> words;
  while (!line.empty()) {
    const std::string_view part = take_part(line, ' ');
    if (part.empty()) continue;
    TRY_ASSIGN(words.emplace_back(), decode_word(part));
  }
  if (words.empty()) return fail(Code::kInvalid, "an empty command");
  if (words.front() == "help") return names();
  const auto handler = handlers_.find(words.front());
  if (handler == handlers_.end())
    return fail(Code::kInvalid,
                fmt::format("unknown command '{}', known are: {}", words.front(), names()));
  words.erase(words.begin());
  return handler->second(words, client);
}

std::string CommandTable::run(std::string_view lines, uint64_t client) const {
  if (lines.size() > kControlWriteMax)
    return reply_line(
        fail(Code::kLimit, fmt::format("more than {} bytes in one write", kControlWriteMax)));
  std::string replies;
  while (!lines.empty()) {
    const std::string_view line = take_part(lines, '\n');
    if (!line.empty()) replies += reply_line(run_line(line, client));
  }
  return replies;
}

}  // namespace larder::control
