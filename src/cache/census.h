// The census: makes the files cached in earlier runs known to Residents, in order of last use.
#pragma once

#include <atomic>

#include "base/error.h"
#include "cache/residents.h"
#include "catalog/catalog.h"

namespace larder::cache {

// Reads every node's record; runs beside requests, after the mount answers.  Ends early when `stop`
// is set.  Evicts what a smaller limit than last time no longer allows.
Result<void> take_census(catalog::Catalog& catalog, Residents& residents, const Rules& rules,
                         const std::atomic<bool>& stop);

}  // namespace larder::cache
