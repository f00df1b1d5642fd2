#include "evict/registry.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "evict/expiring.h"
#include "evict/hybrid.h"
#include "evict/lfu.h"
#include "evict/lru.h"
#include "evict/ttl.h"

namespace larder::evict {

namespace {

struct Row {
  std::string_view name;
  std::unique_ptr<Policy> (*make)();
  bool looks_at_time = false;
};

template <class T>
std::unique_ptr<Policy> make() {
  return std::make_unique<T>();
}

constexpr Row kPolicies[] = {
    {"lru", make<Lru>},
    {"lfu", make<Lfu>},
    {"ttl", make<Ttl>, true},
    {"hybrid", make<Hybrid>},
};

}  // namespace

std::vector<std::string_view> policy_names() {
  std::vector<std::string_view> names;
  for (const Row& row : kPolicies) names.push_back(row.name);
  return names;
}

Result<std::unique_ptr<Policy>> make_policy(std::string_view name, Expiry expiry) {
  for (const Row& row : kPolicies) {
    if (row.name != name) continue;
    if (expiry == Expiry::kIgnored || row.looks_at_time) return row.make();
    return std::make_unique<Expiring>(row.make());
  }
  return fail(Code::kInvalid, fmt::format("unknown eviction policy '{}' (accepted: {})", name,
                                          fmt::join(policy_names(), ", ")));
}

}  // namespace larder::evict
