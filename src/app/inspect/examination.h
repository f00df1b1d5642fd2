// What the parts of an examination of a cache directory share.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "app/cache_directory.h"
#include "app/inspect/report.h"
#include "base/ids.h"
#include "catalog/records.h"
#include "io/disk.h"
#include "journal/store.h"

namespace larder::app {

struct Counts {
  uint64_t checkpoints = 0;
  uint64_t segments = 0;
  uint64_t log_bytes = 0;
  uint64_t frames = 0;
  uint64_t records = 0;
  uint64_t keys = 0;
  uint64_t nodes = 0;
  uint64_t names = 0;
  uint64_t listing_parts = 0;
  uint64_t objects = 0;       // object files
  uint64_t blocks = 0;        // claimed and believed
  uint64_t blocks_plain = 0;  // of these, blocks whose checksum is not known
  uint64_t bytes_verified = 0;
  control::Value::Object json() const;
};

// What would put right what was found.  Records are changed before files are removed.
struct RepairPlan {
  // Something of the journal was durable and is not there: it has to be written anew.
  bool rewrite_journal = false;
  // Nothing of it can be read.
  bool drop_journal = false;
  // Nothing may be changed.
  bool refuse = false;
  std::vector<std::string> remove_first;  // damaged checkpoints
  std::vector<journal::Change> changes;
  std::map<NodeId, catalog::NodeRecord> nodes;  // as they are to be
  std::vector<std::string> remove_last;         // objects, temporary files
};

// The node has no local data.
inline void forget_object(catalog::NodeRecord& node) {
  node.object = {};
  node.object_bytes = 0;
  node.cached_at_ns = 0;
  node.first_chunk.reset();
}

struct Examination {
  io::Disk& disk;
  Report& report;
  // Verify the bytes of claimed blocks by their checksums.
  bool reads_data = true;
  // The directory of the journal; repair looks at a new one before it takes the place of the other.
  std::string journal = kJournalName;
  Counts counts{};
  RepairPlan plan{};
};

}  // namespace larder::app
