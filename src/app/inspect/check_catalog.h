// Examines the catalog's records: each decodes, and what it refers to is there.
#pragma once

#include "app/inspect/examination.h"
#include "app/inspect/object_facts.h"
#include "journal/reader.h"

namespace larder::app {

// Fills in which object belongs to which node.  Reads the live records twice.
void check_catalog(Examination& examination, journal::Reader& reader, Objects& objects);

}  // namespace larder::app
