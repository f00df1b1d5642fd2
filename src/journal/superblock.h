// The superblock: written when a store is made, says how it is laid out; written again only to
// raise its version.
#pragma once

#include "journal/files.h"
#include "journal/store.h"

namespace larder::journal {

// The superblock of a store in `directory`.  Changes nothing.
Result<StoreFiles> read_superblock(io::Disk& disk, const std::string& directory);
// The same; makes the store when there is none, but changes nothing in one that is there.
Result<StoreFiles> open_superblock(io::Disk& disk, const std::string& directory,
                                   const StoreOptions& options, const Clock& clock);
// Gives an older store's superblock this larder's version, so that an older larder stops there: the
// first change.
Result<void> upgrade_superblock(const StoreFiles& files);

// What a damaged or lost superblock said, from the headers of the log's segments.
Result<StoreFiles> infer_superblock(io::Disk& disk, const std::string& directory);

}  // namespace larder::journal
