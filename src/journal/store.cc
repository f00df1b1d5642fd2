#include "journal/store.h"

#include "journal/store_impl.h"
#include "journal/superblock.h"

namespace larder::journal {
namespace {

// Files that a crash left half made.
Result<void> remove_unfinished(const StoreFiles& files) {
  TRY_ASSIGN(const std::vector<std::string> names, files.disk.list(files.directory));
  for (const std::string& name : names)
    if (name.ends_with(kNewSuffix)) TRY(files.remove(name));
  return {};
}

}  // namespace

Result<std::unique_ptr<Store>> Store::open(io::Disk& disk, const std::string& directory,
                                           const StoreOptions& options, Registry& registry,
                                           const Clock& clock) {
  TRY_ASSIGN(StoreFiles files, open_superblock(disk, directory, options, clock));
  auto index = std::make_unique<Index>();
  TRY_ASSIGN(const LoadedCheckpoint checkpoint, load_newest_checkpoint(files, index));
  if (checkpoint.full.sequence == 0) index->reserve(options.index_buckets_min);
  auto store = std::make_unique<StoreImpl>(files, std::move(index), options, registry, clock);
  TRY(store->recover(checkpoint));
  TRY(remove_unfinished(files));
  // A process that died may have made files whose names it did not get to make durable.
  TRY(files.sync_entries());
  TRY(files.measure());
  return store;
}

}  // namespace larder::journal
