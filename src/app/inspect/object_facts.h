// What the catalog says about objects, as far as a check of them needs it.
#pragma once

#include <cstdint>
#include <optional>
#include <unordered_map>
#include <unordered_set>

#include "base/ids.h"

namespace larder::app {

struct ObjectFacts {
  NodeId node;
  uint64_t size_bytes = 0;
  uint8_t block_shift = 0;
  bool has_first_chunk = false;  // in the node's record, not in one of its own
  bool is_believed = false;  // false: after a crash its blocks are not believed, see data_stable
};

struct Objects {
  std::unordered_map<ObjectId, ObjectFacts> facts;
  // Those to be dropped as a whole.
  std::unordered_set<ObjectId> dropped;
  // By the catalog's counter no id from here on was given out; nullopt: it is missing.
  std::optional<uint64_t> limit;
};

}  // namespace larder::app
