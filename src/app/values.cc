#include "app/values.h"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <limits>
#include <span>
#include <utility>

namespace larder::app {
namespace {

struct Unit {
  std::string_view name;
  int64_t factor;
};

constexpr std::array<Unit, 4> kSizeUnits{{{"T", int64_t{1} << 40},
                                          {"G", int64_t{1} << 30},
                                          {"M", int64_t{1} << 20},
                                          {"K", int64_t{1} << 10}}};
constexpr std::array<Unit, 4> kTimeUnits{
    {{"h", 3'600'000'000'000}, {"m", 60'000'000'000}, {"s", 1'000'000'000}, {"ms", 1'000'000}}};

// Splits "128K" into 128 and "K".
Result<std::pair<uint64_t, std::string_view>> split_number(std::string_view text) {
  uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{}) return fail(Code::kInvalid);
  return std::pair{number, text.substr(static_cast<size_t>(end - text.data()))};
}

Result<uint64_t> scale(uint64_t number, int64_t factor, uint64_t limit) {
  uint64_t product = 0;
  if (__builtin_mul_overflow(number, static_cast<uint64_t>(factor), &product) || product > limit)
    return fail(Code::kInvalid);
  return product;
}

std::string format_unit(uint64_t value, std::span<const Unit> units) {
  for (const Unit& unit : units) {
    const auto factor = static_cast<uint64_t>(unit.factor);
    if (value != 0 && value % factor == 0) return fmt::format("{}{}", value / factor, unit.name);
  }
  return fmt::format("{}", value);
}

}  // namespace

Result<uint64_t> parse_size(std::string_view text) {
  TRY_ASSIGN(auto parts, split_number(text));
  auto [number, unit] = parts;
  if (unit.empty() || unit == "B") return number;
  if (unit.ends_with("iB"))
    unit.remove_suffix(2);
  else if (unit.ends_with("B"))
    unit.remove_suffix(1);
  for (const Unit& known : kSizeUnits)
    if (unit.size() == 1 && (unit[0] & ~0x20) == known.name[0])
      return scale(number, known.factor, std::numeric_limits<int64_t>::max());
  return fail(Code::kInvalid);
}

Result<Nanos> parse_duration(std::string_view text) {
  TRY_ASSIGN(const auto parts, split_number(text));
  const auto [number, unit] = parts;
  if (unit.empty() && number == 0) return Nanos(0);
  for (const Unit& known : kTimeUnits)
    if (unit == known.name) {
      TRY_ASSIGN(const uint64_t ns,
                 scale(number, known.factor, std::numeric_limits<int64_t>::max()));
      return Nanos(static_cast<int64_t>(ns));
    }
  return fail(Code::kInvalid);
}

std::string missing_unit(std::string_view text) {
  const auto parts = split_number(text);
  if (!parts || !parts->second.empty()) return {};
  return fmt::format("the unit is missing ({}s?): ", text);
}

Result<uint64_t> parse_count(std::string_view text) {
  TRY_ASSIGN(const auto parts, split_number(text));
  if (!parts.second.empty()) return fail(Code::kInvalid);
  return parts.first;
}

Result<bool> parse_switch(std::string_view text) {
  for (const std::string_view yes : {"on", "yes", "true", "1"})
    if (text == yes) return true;
  for (const std::string_view no : {"off", "no", "false", "0"})
    if (text == no) return false;
  return fail(Code::kInvalid);
}

Result<SizeLimit> parse_size_limit(std::string_view text) {
  if (text.ends_with('%')) {
    TRY_ASSIGN(const uint64_t percent, parse_count(text.substr(0, text.size() - 1)));
    if (percent == 0 || percent > 100) return fail(Code::kInvalid);
    return SizeLimit{.bytes = 0, .percent = static_cast<uint32_t>(percent)};
  }
  TRY_ASSIGN(const uint64_t bytes, parse_size(text));
  return SizeLimit{.bytes = bytes, .percent = 0};
}

std::string format_size(uint64_t bytes) {
  return format_unit(bytes, kSizeUnits);
}

std::string format_duration(Nanos duration) {
  return format_unit(static_cast<uint64_t>(duration.count()), kTimeUnits);
}

std::string format_size_limit(const SizeLimit& limit) {
  return limit.percent != 0 ? fmt::format("{}%", limit.percent) : format_size(limit.bytes);
}

}  // namespace larder::app
