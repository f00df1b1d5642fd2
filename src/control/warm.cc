#include "control/warm.h"

#include <fmt/format.h>

#include <charconv>
#include <nlohmann/json.hpp>

namespace larder::control {
namespace {

using Json = nlohmann::ordered_json;
using Words = std::vector<std::string>;

uint64_t number(const Json& object, const char* name) {
  const auto at = object.find(name);
  return at != object.end() && at->is_number_unsigned() ? at->get<uint64_t>() : 0;
}

std::vector<std::string> texts(const Json& object, const char* name) {
  std::vector<std::string> list;
  if (const auto at = object.find(name); at != object.end() && at->is_array())
    for (const Json& text : *at)
      if (text.is_string()) list.push_back(text.get<std::string>());
  return list;
}

Result<uint64_t> parse_job(const Words& words, size_t words_min, size_t words_max,
                           std::string_view usage) {
  uint64_t job = 0;
  if (words.size() < words_min || words.size() > words_max)
    return fail(Code::kInvalid, fmt::format("expected: {}", usage));
  const std::string& text = words.front();
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), job);
  if (error != std::errc{} || end != text.data() + text.size())
    return fail(Code::kInvalid, fmt::format("expected: {}", usage));
  return job;
}

Result<std::string> run_add(WarmService& service, const Words& words) {
  constexpr std::string_view kUsage = "warm-add JOB [r] PATH";
  TRY_ASSIGN(const uint64_t job, parse_job(words, 2, 3, kUsage));
  const bool recursive = words.size() == 3;
  if (recursive && words[1] != "r")
    return fail(Code::kInvalid, fmt::format("expected: {}", kUsage));
  TRY_ASSIGN(const WarmService::Added added, service.add(job, words.back(), recursive));
  return added == WarmService::Added::kAccepted ? "1 accepted" : "busy 0";
}

}  // namespace

std::string format_warm_status(const WarmStatus& status) {
  const Json json = {{"files_total", status.files_total},
                     {"files_done", status.files_done},
                     {"files_missing", status.files_missing},
                     {"files_failed", status.files_failed},
                     {"bytes_done", status.bytes_done},
                     {"bytes_total", status.bytes_total},
                     {"done", status.done},
                     {"errors", status.errors},
                     {"missing", status.missing}};
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

Result<WarmStatus> parse_warm_status(std::string_view json) {
  const Json object = Json::parse(json, nullptr, false);
  if (!object.is_object()) return fail(Code::kCorrupt, "warm-status");
  WarmStatus status;
  status.files_total = number(object, "files_total");
  status.files_done = number(object, "files_done");
  status.files_missing = number(object, "files_missing");
  status.files_failed = number(object, "files_failed");
  status.bytes_done = number(object, "bytes_done");
  status.bytes_total = number(object, "bytes_total");
  const auto done = object.find("done");
  if (done == object.end() || !done->is_boolean()) return fail(Code::kCorrupt, "warm-status");
  status.done = done->get<bool>();
  status.errors = texts(object, "errors");
  status.missing = texts(object, "missing");
  return status;
}

void add_warm_commands(CommandTable& table, WarmService& service) {
  table.add("warm-begin", [&service](const Words& words, uint64_t client) -> Result<std::string> {
    if (!words.empty()) return fail(Code::kInvalid, "expected: warm-begin");
    TRY_ASSIGN(const uint64_t job, service.begin(client));
    return fmt::format("{}", job);
  });
  table.add_closed([&service](uint64_t client) { service.abandon(client); });
  table.add("warm-add", [&service](const Words& words) { return run_add(service, words); });
  table.add("warm-end", [&service](const Words& words) -> Result<std::string> {
    TRY_ASSIGN(const uint64_t job, parse_job(words, 1, 1, "warm-end JOB"));
    TRY(service.end(job));
    return std::string();
  });
  table.add("warm-status", [&service](const Words& words) -> Result<std::string> {
    TRY_ASSIGN(const uint64_t job, parse_job(words, 1, 1, "warm-status JOB"));
    TRY_ASSIGN(const WarmStatus status, service.status(job));
    return format_warm_status(status);
  });
}

}  // namespace larder::control
