// From the keys and the cache disk to what the cache may take.  Pure functions.
#pragma once

#include <cstdint>

#include "app/config.h"
#include "cache/budget.h"
#include "io/disk.h"

namespace larder::app {

// A share of the disk's inodes is no limit where the file system does not count them (btrfs, ZFS).
cache::Limits limits_of(const Config& config, const io::SpaceInfo& space);

// Of one file of the journal, for a cache of this size.
uint64_t segment_bytes_of(uint64_t size_bytes);

// Of the catalog's records.
uint64_t catalog_bytes_of(uint64_t size_bytes);

}  // namespace larder::app
