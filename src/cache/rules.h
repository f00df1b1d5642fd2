// Rules: what the user wants of some files, by patterns for their paths.
//
//   const cache::Hints hints = rules.match("movies/a.iso");   // relative to the source's root
//
// All rules that match apply, in their order: a later one overrides what an earlier one says, and
// leaves what it says nothing of.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "cache/glob.h"
#include "cache/resident_table.h"

namespace larder::cache {

struct Hints {
  bool admit = true;                      // else its data is not kept on the disk
  std::optional<Nanos> ttl;               // instead of the ttl of all; 0: does not expire
  Priority priority = Priority::kNormal;  // kPinned: it is not evicted
};

struct Rule {
  Glob glob;
  std::optional<bool> admit;
  std::optional<Nanos> ttl;
  std::optional<Priority> priority;  // not kPinned
  std::optional<bool> pin;
};

// Immutable once filled; then thread-safe.
class Rules {
 public:
  static constexpr size_t kRulesMax = 256;

  // False: there are kRulesMax.
  bool add(Rule rule);
  // The last one added; there must be one.
  Rule& last() { return rules_.back(); }
  bool empty() const { return rules_.empty(); }
  // Whether any file may expire because of a rule.
  bool any_ttl() const;

  Hints match(std::string_view path) const;

 private:
  std::vector<Rule> rules_;
};

}  // namespace larder::cache
