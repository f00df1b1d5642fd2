#include "base/descriptor_limit.h"

namespace larder {

DescriptorLimit::DescriptorLimit(uint64_t max, Registry& registry)
    : max_(max),
      held_max_(max - max / 4),
      reclaim_above_(max / 2),
      refused_(registry.counter("larder_descriptors_refused_total",
                                "files not opened because of the limit on descriptors")) {
  registry.gauge_callback("larder_descriptors_open", "open files of the source and of the cache",
                          [count = count_] { return static_cast<int64_t>(count->taken.load()); });
  registry.gauge_callback("larder_descriptors_max", "most open files of the source and the cache",
                          [max] { return static_cast<int64_t>(max); });
}

Result<DescriptorLimit::Slot> DescriptorLimit::take(Use use) {
  if (taken() >= reclaim_above_ && reclaim_) reclaim_();
  const uint64_t limit = use == Use::kHeld ? held_max_ : max_;
  Slot slot(count_);  // gives it back when it is one too many
  if (count_->taken.fetch_add(1, std::memory_order_relaxed) < limit) return slot;
  refused_.add();
  return fail(Code::kNoDescriptors, "descriptors");
}

}  // namespace larder
