// Examines the journal: superblock, checkpoints, every frame and record of the log, and what
// recovery would make of them.
#pragma once

#include <memory>

#include "app/inspect/examination.h"
#include "journal/reader.h"

namespace larder::app {

// A reader with the index as recovery would have it, or what can be saved of it; null when there is
// no journal, or nothing of it can be read.
std::unique_ptr<journal::Reader> check_journal(Examination& examination);

}  // namespace larder::app
