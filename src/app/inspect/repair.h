// `larder check --repair`: keeps what is provably good and puts the rest right.
//
// Order of things, so that a crash in the middle leaves what a second run puts right: a journal
// that has to be written anew is made beside the old one, closed, and exchanged with it as a whole;
// records are changed durably before the files they named are removed.  Each round is followed by
// another examination, until there is nothing left to do.
#pragma once

#include <functional>
#include <string>

#include "app/inspect/examination.h"

namespace larder::app {

struct RepairResult {
  // The last examination: what could not be put right.
  Report left;
  Counts counts;
};

// `disk` is locked.  `found` takes what the first examination finds, `say` a line for each thing
// done.  kNewerFormat, kIo...: it cannot go on; what was done is done.
Result<RepairResult> repair(io::Disk& disk, Report& found,
                            const std::function<void(const std::string&)>& say);

}  // namespace larder::app
