// The eviction policies by the names the configuration uses.  Thread-safe.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "evict/policy.h"

namespace larder::evict {

// Whether expired() is to name items that are over: costs memory with policies that do not look at
// time by themselves (evict/expiring.h).
enum class Expiry { kIgnored, kHonoured };

std::vector<std::string_view> policy_names();
// kInvalid, naming what is accepted, for an unknown name.
Result<std::unique_ptr<Policy>> make_policy(std::string_view name,
                                            Expiry expiry = Expiry::kIgnored);

}  // namespace larder::evict
