// IndexEvent: what one record of the log does to the index, for replay and for increments.
#pragma once

#include <cstdint>

#include "format/frame.h"
#include "journal/index.h"

namespace larder::journal {

struct IndexEvent {
  uint64_t identity = 0;    // Index::identity_of the key's hash
  uint64_t address = 0;     // of the record
  bool is_removal = false;  // the entry goes: the key is removed and nothing is behind it
  bool is_alone = false;    // as ChainHead's

  // False when the shard has the record already.
  bool apply_to(Index& index) const {
    const uint64_t hash = Index::hash_of(identity);
    IndexShard& shard = index.shard_of(hash);
    const WriterLock lock(shard.mutex);
    if (address < shard.covered_until()) return false;
    if (is_removal)
      shard.erase(hash);
    else
      shard.put(hash, {.address = address, .is_alone = is_alone});
    return true;
  }
};

inline IndexEvent event_of(const format::RecordView& record, uint64_t hash) {
  const bool is_alone = record.header.previous() == 0;
  return {.identity = Index::identity_of(hash),
          .address = record.address,
          .is_removal = record.header.is_tombstone() && is_alone,
          .is_alone = is_alone};
}

}  // namespace larder::journal
