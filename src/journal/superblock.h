// The superblock: written once when a store is made, says how it is laid out.
#pragma once

#include "journal/files.h"
#include "journal/store.h"

namespace larder::journal {

// The store in `directory`, made when there is none.  Changes nothing in one that is there.
Result<StoreFiles> open_superblock(io::Disk& disk, const std::string& directory,
                                   const StoreOptions& options, const Clock& clock);

// The same of one that is there, changing nothing.  kNotFound: there is no superblock.
Result<StoreFiles> read_superblock(io::Disk& disk, const std::string& directory);
// What a damaged or lost superblock said, from the headers of the log's segments.
Result<StoreFiles> infer_superblock(io::Disk& disk, const std::string& directory);

}  // namespace larder::journal
