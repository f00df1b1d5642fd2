#include "cache/rules.h"

#include <algorithm>

namespace larder::cache {

bool Rules::add(Rule rule) {
  if (rules_.size() == kRulesMax) return false;
  rules_.push_back(std::move(rule));
  return true;
}

bool Rules::any_ttl() const {
  return std::ranges::any_of(
      rules_, [](const Rule& rule) { return rule.ttl.value_or(Nanos(0)) > Nanos(0); });
}

Hints Rules::match(std::string_view path) const {
  Hints hints;
  bool pin = false;
  for (const Rule& rule : rules_) {
    if (!rule.glob.matches(path)) continue;
    hints.admit = rule.admit.value_or(hints.admit);
    if (rule.ttl) hints.ttl = rule.ttl;
    hints.priority = rule.priority.value_or(hints.priority);
    pin = rule.pin.value_or(pin);
  }
  if (pin) hints.priority = Priority::kPinned;
  return hints;
}

}  // namespace larder::cache
