// The settings of `[rule PATTERN]` sections: admit, ttl, priority, pin.
#pragma once

#include "app/config.h"
#include "cache/rules.h"

namespace larder::app {

// Takes a setting into the rules: one without a key begins a rule, others say something of the one
// begun last.  Errors (kInvalid) are one line in detail() and name the place.
Result<void> apply_rule_setting(cache::Rules& rules, const Setting& setting);

}  // namespace larder::app
