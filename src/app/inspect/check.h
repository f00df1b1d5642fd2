// `larder check`: examines a cache directory without changing anything.
//
// What it finds is explained line by line as it is found (docs/CHECK.md).  It reads each part with
// the decoders that recovery uses.
#pragma once

#include "app/inspect/examination.h"

namespace larder::app {

// Fills in report, counts and plan.
void examine(Examination& examination);
// Of the journal, the catalog in it, and the objects alone.
void examine_contents(Examination& examination);

}  // namespace larder::app
