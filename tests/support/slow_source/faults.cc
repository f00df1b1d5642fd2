#include "faults.h"

#include <fmt/format.h>
#include <signal.h>
#include <string.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <limits>
#include <optional>

namespace larder::slow_source {

namespace {

std::optional<uint64_t> parse_number(std::string_view text) {
  uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

std::optional<int> parse_errno(std::string_view name) {
  for (int number = 1; number < 4096; ++number)
    if (const char* known = strerrorname_np(number); known != nullptr && name == known)
      return number;
  return std::nullopt;
}

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  for (;;) {
    const size_t end = text.find(separator);
    parts.push_back(text.substr(0, end));
    if (end == std::string_view::npos) return parts;
    text.remove_prefix(end + 1);
  }
}

}  // namespace

std::string Faults::set(std::string_view key, std::string_view value) {
  if (key == "fail") return add_rule(value);
  if (key == "kill") return set_kill(value);
  const auto number = parse_number(value);
  const auto error = parse_errno(value);
  const std::lock_guard lock(mutex_);
  if (key == "down" && (error || (number && *number <= 1))) {
    down_ = error ? *error : (*number == 1 ? ENOTCONN : 0);
  } else if (key == "latency_ms" && number) {
    latency_ = std::chrono::milliseconds(*number);
  } else if (key == "bandwidth_mb_s" && number) {
    bandwidth_mb_s_ = *number;
    link_free_at_ = {};
  } else if (key == "hang" && number && *number <= 1) {
    hang_ = *number == 1;
  } else if (key == "direct_io" && number && *number <= 1) {
    direct_io_ = *number == 1;
  } else if (key == "attr_ttl_ms" && number) {
    attr_ttl_ms_ = *number;
  } else {
    return fmt::format(
        "'{}={}' is no setting; accepted: latency_ms=N bandwidth_mb_s=N hang=0|1 down=0|1|ERRNO "
        "direct_io=0|1 attr_ttl_ms=N fail=KIND:ERRNO[:COUNT[:AFTER]] kill=PID[:KIND[:AFTER]]",
        key, value);
  }
  changed_.notify_all();
  return {};
}

std::string Faults::add_rule(std::string_view text) {
  const std::lock_guard lock(mutex_);
  if (text.empty()) {
    rules_.clear();
    return {};
  }
  const auto parts = split(text, ':');
  const auto kind = std::ranges::find(kKindNames, parts[0]);
  const auto error = parts.size() > 1 ? parse_errno(parts[1]) : std::nullopt;
  const auto count = parts.size() < 3  ? std::optional<uint64_t>(1)
                     : parts[2] == "*" ? std::numeric_limits<uint64_t>::max()
                                       : parse_number(parts[2]);
  const auto after = parts.size() < 4 ? std::optional<uint64_t>(0) : parse_number(parts[3]);
  if ((kind == kKindNames.end() && parts[0] != "any") || !error || !count || !after ||
      parts.size() > 4)
    return fmt::format(
        "'{}' is no rule; accepted: KIND:ERRNO[:COUNT[:AFTER]], KIND any or one of {}", text,
        fmt::join(kKindNames, " "));
  rules_.push_back({.kind = parts[0] == "any" ? -1 : static_cast<int>(kind - kKindNames.begin()),
                    .error = *error,
                    .count = *count,
                    .after = *after});
  return {};
}

std::string Faults::set_kill(std::string_view text) {
  const std::lock_guard lock(mutex_);
  kill_.reset();
  if (text.empty()) return {};
  const auto parts = split(text, ':');
  const auto pid = parse_number(parts[0]);
  const bool any = parts.size() < 2 || parts[1] == "any";
  const auto kind = any ? kKindNames.begin() : std::ranges::find(kKindNames, parts[1]);
  const auto after = parts.size() < 3 ? std::optional<uint64_t>(0) : parse_number(parts[2]);
  if (!pid || *pid < 2 || kind == kKindNames.end() || !after || parts.size() > 3)
    return fmt::format("'{}' is no PID[:KIND[:AFTER]]", text);
  kill_ = {.pid = static_cast<pid_t>(*pid),
           .kind = any ? -1 : static_cast<int>(kind - kKindNames.begin()),
           .after = *after};
  return {};
}

void Faults::kill_if_due(Kind kind) {
  if (!kill_ || (kill_->kind != -1 && kill_->kind != static_cast<int>(kind))) return;
  if (kill_->after > 0) {
    --kill_->after;
    return;
  }
  ::kill(kill_->pid, SIGKILL);
  kill_.reset();
}

int Faults::injected(Kind kind) {
  for (auto rule = rules_.begin(); rule != rules_.end(); ++rule) {
    if (rule->kind != -1 && rule->kind != static_cast<int>(kind)) continue;
    if (rule->after > 0) {
      --rule->after;
      continue;
    }
    const int error = rule->error;
    if (rule->count != std::numeric_limits<uint64_t>::max() && --rule->count == 0)
      rules_.erase(rule);
    return error;
  }
  return 0;
}

int Faults::enter(Kind kind) {
  count(kind);
  std::unique_lock lock(mutex_);
  kill_if_due(kind);
  const int error = injected(kind);
  if (latency_.count() > 0) {
    const auto until = std::chrono::steady_clock::now() + latency_;
    changed_.wait_until(lock, until, [this] { return must_go(); });
  }
  if (hang_) {
    ++hung_;
    changed_.wait(lock, [this] { return !hang_ || must_go(); });
    --hung_;
  }
  return down_ != 0 ? down_ : error;
}

void Faults::transfer(size_t bytes) {
  std::unique_lock lock(mutex_);
  if (bandwidth_mb_s_ == 0) return;
  const std::chrono::nanoseconds duration(bytes * 1000 / bandwidth_mb_s_);
  link_free_at_ = std::max(link_free_at_, std::chrono::steady_clock::now()) + duration;
  const auto until = link_free_at_;
  changed_.wait_until(lock, until, [this] { return must_go() || bandwidth_mb_s_ == 0; });
}

std::string Faults::counts() const {
  std::string text;
  uint64_t total = 0;
  for (size_t kind = 0; kind < kKindNames.size(); ++kind) {
    const uint64_t n = requests_[kind].load();
    total += n;
    text += fmt::format("{}={}\n", kKindNames[kind], n);
  }
  const std::lock_guard lock(mutex_);
  return text + fmt::format("total={}\nhung={}\n", total, hung_);
}

void Faults::reset_counts() {
  for (auto& n : requests_) n = 0;
}

void Faults::stop() {
  const std::lock_guard lock(mutex_);
  stopping_ = true;
  changed_.notify_all();
}

}  // namespace larder::slow_source
