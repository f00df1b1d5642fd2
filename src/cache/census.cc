#include "cache/census.h"

#include <algorithm>
#include <utility>

#include "base/log.h"

namespace larder::cache {

Census::Census(catalog::Catalog& catalog, Residents& residents, const Rules& rules,
               size_t records_per_step)
    : catalog_(catalog),
      residents_(residents),
      rules_(rules),
      records_per_step_(records_per_step),
      paths_(catalog) {}

bool Census::step() {
  switch (phase_) {
    case Phase::kRead:
      phase_ = read();
      break;
    case Phase::kIntroduce:
      phase_ = introduce();
      break;
    case Phase::kEvict:
      phase_ = evict();
      break;
    case Phase::kDone:
      break;
  }
  return phase_ != Phase::kDone;
}

Census::Phase Census::read() {
  Stretch stretch;
  const auto note = [&](NodeId node, const catalog::NodeRecord& record) {
    if (record.object)
      stretch.seen.push_back({record.used_at_ns, node, record.object_bytes, record.cached_at_ns,
                              rules_.empty() ? Hints{} : rules_.match(paths_.of(record))});
  };
  const auto next = catalog_.visit_records(from_, records_per_step_, {.node = note, .name = {}});
  if (!next) {
    log::warning("cannot count what is cached: {}", next.error().message());
    is_whole_ = false;
  }
  std::ranges::sort(stretch.seen, {}, &Seen::used_at_ns);
  if (!stretch.seen.empty()) {
    stretches_.push_back(std::move(stretch));
    std::ranges::push_heap(stretches_, is_used_later);
  }
  if (!next || !*next) return Phase::kIntroduce;
  from_ = **next;
  return Phase::kRead;
}

Census::Phase Census::introduce() {
  for (size_t i = 0; i < kIntroducedPerStep; ++i) {
    if (stretches_.empty()) {
      residents_.end_census(is_whole_);
      return Phase::kEvict;
    }
    std::ranges::pop_heap(stretches_, is_used_later);
    Stretch& stretch = stretches_.back();
    const Seen& one = stretch.seen[stretch.next++];
    residents_.introduce(one.node, one.bytes, one.cached_at_ns, one.hints);
    if (stretch.next < stretch.seen.size())
      std::ranges::push_heap(stretches_, is_used_later);
    else
      stretches_.pop_back();
  }
  return Phase::kIntroduce;
}

Census::Phase Census::evict() {
  return residents_.trim(kEvictionsPerStep) ? Phase::kEvict : Phase::kDone;
}

}  // namespace larder::cache
