// Between larder's attributes and libfuse's.
#pragma once

#include <sys/stat.h>

#include "base/attributes.h"
#include "base/clock.h"
#include "fs/file_system.h"
#include "fuse/libfuse.h"

namespace larder::fuse {

struct stat stat_of(const Attributes& attributes);
double seconds(Nanos duration);
fuse_entry_param entry_of(const fs::NodeReply& node);
Caller caller_of(fuse_req_t request);
// to_set: FUSE_SET_ATTR_*.
fs::AttributeChange change_of(const struct stat& attributes, int to_set);

}  // namespace larder::fuse
