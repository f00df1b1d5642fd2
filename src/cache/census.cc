#include "cache/census.h"

#include <algorithm>
#include <vector>

namespace larder::cache {

Result<void> take_census(catalog::Catalog& catalog, Residents& residents,
                         const std::atomic<bool>& stop) {
  struct Seen {
    int64_t used_at_ns;
    NodeId node;
    uint64_t bytes;
    int64_t cached_at_ns;
  };
  std::vector<Seen> seen;
  TRY(catalog.for_each_node([&](NodeId node, const catalog::NodeRecord& record) {
    if (record.object)
      seen.push_back({record.used_at_ns, node, record.object_bytes, record.cached_at_ns});
    return !stop.load(std::memory_order_relaxed);
  }));
  if (stop.load(std::memory_order_relaxed)) return {};
  std::ranges::sort(seen, {}, &Seen::used_at_ns);
  for (const Seen& one : seen) residents.introduce(one.node, one.bytes, one.cached_at_ns);
  residents.end_census();
  residents.trim();
  return {};
}

}  // namespace larder::cache
