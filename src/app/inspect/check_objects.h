// Examines the objects: that those the catalog names are there and hold what is claimed, and that
// there are no others.
#pragma once

#include "app/inspect/examination.h"
#include "app/inspect/object_facts.h"
#include "journal/reader.h"

namespace larder::app {

// `reader` is null when there is no catalog: then all objects are orphans.
void check_objects(Examination& examination, journal::Reader* reader, Objects& objects);

}  // namespace larder::app
