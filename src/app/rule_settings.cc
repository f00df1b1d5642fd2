#include "app/rule_settings.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "app/nearest.h"
#include "app/values.h"
#include "base/check.h"

namespace larder::app {
namespace {

using cache::Priority;
using cache::Rule;

Result<void> set_admit(Rule& rule, std::string_view value) {
  if (value != "always" && value != "never") return fail(Code::kInvalid);
  rule.admit = value == "always";
  return {};
}

Result<void> set_ttl(Rule& rule, std::string_view value) {
  TRY_ASSIGN(const Nanos ttl, parse_duration(value));
  if (ttl != Nanos(0) && (ttl < std::chrono::seconds(1) || ttl > std::chrono::hours(8760)))
    return fail(Code::kInvalid);
  rule.ttl = ttl;
  return {};
}

Result<void> set_priority(Rule& rule, std::string_view value) {
  constexpr std::array<std::pair<std::string_view, Priority>, 3> kNames{
      {{"low", Priority::kLow}, {"normal", Priority::kNormal}, {"high", Priority::kHigh}}};
  for (const auto& [name, priority] : kNames) {
    if (value != name) continue;
    rule.priority = priority;
    return {};
  }
  return fail(Code::kInvalid);
}

Result<void> set_pin(Rule& rule, std::string_view value) {
  TRY_ASSIGN(rule.pin, parse_switch(value));
  return {};
}

struct RuleKey {
  std::string_view name;
  Result<void> (*set)(Rule&, std::string_view);
  std::string_view accepted;
};
constexpr RuleKey kRuleKeys[] = {
    {"admit", set_admit, "always, never"},
    {"ttl", set_ttl, "0, or 1s to 8760h (ms, s, m, h)"},
    {"priority", set_priority, "low, normal, high"},
    {"pin", set_pin, "yes or no"},
};

Result<void> begin_rule(cache::Rules& rules, const Setting& setting) {
  auto glob = cache::Glob::parse(setting.rule);
  if (!glob)
    return fail(Code::kInvalid, fmt::format("{}: bad pattern in [rule {}]: {}", setting.origin,
                                            setting.rule, glob.error().detail()));
  if (!rules.add({std::move(*glob), {}, {}, {}, {}}))
    return fail(Code::kInvalid, fmt::format("{}: [rule {}] is one too many: {} are accepted",
                                            setting.origin, setting.rule, cache::Rules::kRulesMax));
  return {};
}

std::unexpected<Error> unknown_key(const Setting& setting) {
  std::vector<std::string_view> names;
  for (const RuleKey& key : kRuleKeys) names.push_back(key.name);
  const std::string_view near = nearest_word(setting.key, names);
  return fail(Code::kInvalid,
              fmt::format("{}: unknown key '{}' in [rule {}]: {}", setting.origin, setting.key,
                          setting.rule,
                          near.empty() ? fmt::format("the keys are {}", fmt::join(names, ", "))
                                       : fmt::format("did you mean '{}'?", near)));
}

}  // namespace

Result<void> apply_rule_setting(cache::Rules& rules, const Setting& setting) {
  if (setting.key.empty()) return begin_rule(rules, setting);
  const auto key = std::ranges::find(kRuleKeys, setting.key, &RuleKey::name);
  if (key == std::end(kRuleKeys)) return unknown_key(setting);
  CHECK(!rules.empty());
  if (!key->set(rules.last(), setting.value))
    return fail(Code::kInvalid,
                fmt::format("{}: bad value '{}' for {} in [rule {}]: {}accepted: {}",
                            setting.origin, setting.value, setting.key, setting.rule,
                            key->name == "ttl" ? missing_unit(setting.value) : "", key->accepted));
  return {};
}

}  // namespace larder::app
