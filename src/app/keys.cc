#include "app/keys.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>

#include "app/nearest.h"
#include "evict/registry.h"

namespace larder::app {
namespace {

constexpr uint64_t kKiB = 1ULL << 10;
constexpr uint64_t kMiB = 1ULL << 20;
constexpr uint64_t kGiB = 1ULL << 30;
constexpr uint64_t kTiB = 1ULL << 40;
constexpr Nanos kYear = std::chrono::hours(8760);

bool is_absolute_or_empty(std::string_view text) {
  return text.empty() || text.starts_with('/');
}

bool is_file_name(std::string_view text) {
  return !text.empty() && text != "." && text != ".." && text.size() <= 255 &&
         text.find('/') == std::string_view::npos;
}

template <auto Member, auto... Values>
ChoiceField choice(std::vector<std::string_view> names) {
  return {std::move(names), [](Config& config, size_t index) {
            using Value = std::remove_reference_t<decltype(config.*Member)>;
            static constexpr Value kValues[] = {Values...};
            config.*Member = kValues[index];
          }};
}

std::vector<Key> make_keys() {
  using std::chrono::milliseconds;
  using std::chrono::seconds;
  return {
      {"cache_dir", TextField{&Config::cache_dir, "an absolute path", is_absolute_or_empty}, "",
       "where the cache lives; by default one directory per source"},
      {"size", SizeLimitField{&Config::size, 16 * kMiB}, "20%",
       "how much of the cache disk to use, journal and directories included"},
      {"inodes", SizeLimitField{&Config::inodes, 1000, "a number", "the disk's inodes"}, "20%",
       "how many files to keep there; a share is no limit where the file system does not count "
       "them"},
      {"min_free", SizeLimitField{&Config::min_free, 0}, "1%",
       "what to leave free of the cache disk, whoever takes it"},
      {"memory", SizeField{&Config::memory_bytes, 0, kTiB}, "256M", "memory for hot blocks"},
      {"block_size", SizeField{&Config::block_size_bytes, 4 * kKiB, kMiB, true}, "128K",
       "unit of presence and of fetching; what is cached keeps the one it came with"},
      {"policy",
       ChoiceField{
           evict::policy_names(),
           [](Config& config, size_t index) { config.policy = evict::policy_names()[index]; }},
       "hybrid", "what to evict first"},
      {"ttl", DurationField{&Config::ttl, seconds(1), kYear, true}, "0",
       "how long a file stays cached after it came in; 0: until it is evicted"},
      {"profile",
       choice<&Config::profile, Profile::kPrivate, Profile::kShared, Profile::kImmutable>(
           {"private", "shared", "immutable"}),
       "shared", "who changes the source: only this mount, others too, nobody"},
      {"attr_ttl", DurationField{&Config::attr_ttl, Nanos(0), kYear}, "5s",
       "age at which attributes and listings are asked for again"},
      {"negative_ttl", DurationField{&Config::negative_ttl, Nanos(0), kYear}, "2s",
       "how long a missing name is believed missing"},
      {"readahead", SizeField{&Config::readahead_bytes, 0, kGiB}, "16M",
       "most bytes to fetch ahead of a sequential reader"},
      {"io",
       choice<&Config::io, IoChoice::kAuto, IoChoice::kUring, IoChoice::kThreads>(
           {"auto", "uring", "threads"}),
       "auto", "engine for local I/O"},
      {"passthrough",
       choice<&Config::passthrough, Passthrough::kAuto, Passthrough::kAuto, Passthrough::kOff>(
           {"auto", "on", "off"}),
       "auto", "let the kernel read resident files itself where it can"},
      {"source_timeout",
       DurationField{&Config::source_timeout, milliseconds(10), std::chrono::hours(1)}, "30s",
       "how long to wait for an answer of the source"},
      {"source_patience",
       DurationField{&Config::source_patience, milliseconds(10), std::chrono::hours(1)}, "2s",
       "how long before an answer from the cache is given instead, where there is one"},
      {"source_threads", CountField{&Config::source_threads, 1, 1024}, "64",
       "calls to the source in flight at once"},
      {"descriptors", CountField{&Config::descriptors, 256, 1 << 20, true}, "auto",
       "files the daemon has open at once; auto: as many as it may have"},
      {"commit_interval", DurationField{&Config::commit_interval, milliseconds(1), seconds(60)},
       "1s", "most time until a change is durable in the cache"},
      {"scrub", SizeField{&Config::scrub_bytes_per_second, 0, kGiB}, "4M",
       "bytes a second of what is cached to verify in the background; 0: none"},
      {"forget_after", DurationField{&Config::forget_after, Nanos(0), 10 * kYear}, "720h",
       "how long an unused name without cached data is remembered; 0: for ever"},
      {"compact_at", ShareField{&Config::compact_at_percent, 10, 90}, "50%",
       "share of the journal that may be dead before it is compacted"},
      {"threads", CountField{&Config::threads, 1, 256, true}, "auto", "FUSE worker threads"},
      {"ro", SwitchField{&Config::read_only}, "off", "mount read-only"},
      {"allow_other", SwitchField{&Config::allow_other}, "off", "let other users use the mount"},
      {"nonempty", SwitchField{&Config::nonempty}, "off",
       "show an empty SOURCE on a MOUNTPOINT that has files, which they may be swapped for"},
      {"control_dir", TextField{&Config::control_dir, "a file name", is_file_name}, ".larder",
       "name of the hidden control directory"},
      {"log_level",
       choice<&Config::log_level, log::Level::kDebug, log::Level::kInfo, log::Level::kWarning,
              log::Level::kError>({"debug", "info", "warning", "error"}),
       "info", "least severity to log"},
      {"log_file", TextField{&Config::log_file, "an absolute path", is_absolute_or_empty}, "",
       "log to this file instead of syslog (stderr with -f)"},
  };
}

struct Describe {
  std::string operator()(const SizeField& f) const {
    return fmt::format("{} to {}{} (K, M, G, T)", format_size(f.min), format_size(f.max),
                       f.power_of_two ? ", a power of two" : "");
  }
  std::string operator()(const SizeLimitField& f) const {
    return fmt::format("{} of at least {} (K, M, G, T) or 1% to 100% of {}", f.what,
                       format_size(f.min), f.whole);
  }
  std::string operator()(const ShareField& f) const {
    return fmt::format("{}% to {}%", f.min, f.max);
  }
  std::string operator()(const DurationField& f) const {
    return fmt::format("{}{} to {} (ms, s, m, h)", f.zero_allowed ? "0, or " : "",
                       format_duration(f.min), format_duration(f.max));
  }
  std::string operator()(const CountField& f) const {
    return fmt::format("{} to {}{}", f.min, f.max, f.auto_allowed ? ", or auto" : "");
  }
  std::string operator()(const SwitchField&) const { return "on or off"; }
  std::string operator()(const ChoiceField& f) const {
    return fmt::format("{}", fmt::join(f.choices, ", "));
  }
  std::string operator()(const TextField& f) const { return std::string(f.accepted); }
};

struct Store {
  Config& config;
  std::string_view value;

  Result<void> operator()(const SizeField& f) const {
    TRY_ASSIGN(const uint64_t size, parse_size(value));
    if (size < f.min || size > f.max || (f.power_of_two && !std::has_single_bit(size)))
      return fail(Code::kInvalid);
    config.*f.member = size;
    return {};
  }
  Result<void> operator()(const SizeLimitField& f) const {
    TRY_ASSIGN(const SizeLimit limit, parse_size_limit(value));
    if (limit.percent == 0 && limit.bytes < f.min) return fail(Code::kInvalid);
    config.*f.member = limit;
    return {};
  }
  Result<void> operator()(const ShareField& f) const {
    if (!value.ends_with('%')) return fail(Code::kInvalid);
    TRY_ASSIGN(const uint64_t percent, parse_count(value.substr(0, value.size() - 1)));
    if (percent < f.min || percent > f.max) return fail(Code::kInvalid);
    config.*f.member = static_cast<uint32_t>(percent);
    return {};
  }
  Result<void> operator()(const DurationField& f) const {
    TRY_ASSIGN(const Nanos duration, parse_duration(value));
    const bool is_zero = f.zero_allowed && duration == Nanos(0);
    if (!is_zero && (duration < f.min || duration > f.max)) return fail(Code::kInvalid);
    config.*f.member = duration;
    return {};
  }
  Result<void> operator()(const CountField& f) const {
    if (f.auto_allowed && value == "auto") {
      config.*f.member = 0;
      return {};
    }
    TRY_ASSIGN(const uint64_t count, parse_count(value));
    if (count < f.min || count > f.max) return fail(Code::kInvalid);
    config.*f.member = static_cast<uint32_t>(count);
    return {};
  }
  Result<void> operator()(const SwitchField& f) const {
    TRY_ASSIGN(const bool on, parse_switch(value));
    config.*f.member = on;
    return {};
  }
  Result<void> operator()(const ChoiceField& f) const {
    const auto found = std::ranges::find(f.choices, value);
    if (found == f.choices.end()) return fail(Code::kInvalid);
    f.set(config, static_cast<size_t>(found - f.choices.begin()));
    return {};
  }
  Result<void> operator()(const TextField& f) const {
    // The effective configuration is shown as lines.
    const bool is_one_line = value.find_first_of(std::string_view("\n\r\0", 3)) == value.npos;
    if (!is_one_line || !f.accepts(value)) return fail(Code::kInvalid);
    config.*f.member = std::string(value);
    return {};
  }
};

}  // namespace

std::span<const Key> keys() {
  static const std::vector<Key> table = make_keys();
  return table;
}

const Key* find_key(std::string_view name) {
  const auto found = std::ranges::find(keys(), name, &Key::name);
  return found == keys().end() ? nullptr : &*found;
}

std::string_view nearest_key(std::string_view name) {
  std::vector<std::string_view> names;
  for (const Key& key : keys()) names.push_back(key.name);
  return nearest_word(name, names);
}

std::string accepted_values(const Key& key) {
  return std::visit(Describe{}, key.field);
}

Result<void> set_value(Config& config, const Key& key, std::string_view value) {
  return std::visit(Store{config, value}, key.field);
}

std::vector<Setting> profile_settings(std::string_view profile) {
  const std::string origin = fmt::format("profile={}", profile);
  if (profile == "private") return {{"attr_ttl", "1h", origin}, {"negative_ttl", "1h", origin}};
  if (profile == "immutable")
    return {{"attr_ttl", "8760h", origin}, {"negative_ttl", "8760h", origin}, {"ro", "on", origin}};
  return {};  // shared: the table's own defaults
}

std::string keys_help() {
  std::string text;
  for (const Key& key : keys()) {
    const std::string value =
        key.default_value.empty() ? "" : fmt::format(" [{}]", key.default_value);
    text += fmt::format("  {:<16} {}{}\n  {:<16}   {}\n", key.name, key.help, value, "",
                        accepted_values(key));
  }
  return text;
}

}  // namespace larder::app
