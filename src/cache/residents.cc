#include "cache/residents.h"

#include <algorithm>
#include <unordered_set>

#include "base/check.h"
#include "base/checksum.h"

namespace larder::cache {
namespace {

// How often room is made for one reservation before it is refused: others take what is freed.
constexpr int kAttemptsMax = 8;

int64_t seconds_of(Nanos time) {
  return std::chrono::duration_cast<std::chrono::seconds>(time).count();
}

}  // namespace

Residents::Residents(MakePolicy make_policy, Budget& budget, Nanos ttl, Registry& registry,
                     const Clock& clock)
    : budget_(budget),
      clock_(clock),
      evictions_(registry.counter("larder_evictions_total", "Objects evicted to make room.")),
      evicted_bytes_(registry.counter("larder_evicted_bytes_total",
                                      "Bytes of evicted objects and parts of objects.")),
      refused_(registry.counter("larder_cache_full_total",
                                "Times nothing could be evicted and the cache was bypassed.")),
      expired_(registry.counter("larder_expired_total", "Objects evicted as their ttl was over.")),
      ttl_(ttl),
      wall_offset_s_(seconds_of(clock.wall()) - seconds_of(clock.monotonic())),
      make_policy_(std::move(make_policy)) {
  registry.gauge_callback("larder_cached_files", "Files with an object on the cache disk.",
                          [this] { return static_cast<int64_t>(count()); });
  registry.gauge_callback("larder_residents_memory_bytes",
                          "Memory that knows the cached files, policies left out.",
                          [this] { return static_cast<int64_t>(memory_bytes()); });
}

uint32_t Residents::now_s() const {
  return static_cast<uint32_t>(wall_offset_s_ + seconds_of(clock_.monotonic()));
}

evict::Policy* Residents::policy_of(Priority priority) {
  if (priority == Priority::kPinned) return nullptr;
  auto& policy = policies_[static_cast<size_t>(priority)];
  if (!policy) policy = make_policy_();
  return policy.get();
}

void Residents::enter(Slot slot, uint32_t cached_at_s, const Hints& hints, uint32_t cost_us) {
  evict::Policy* policy = policy_of(table_.priority(slot));
  if (policy == nullptr) return;
  policy->reserve(table_.slot_limit());
  const auto ttl_s = static_cast<uint32_t>(seconds_of(hints.ttl.value_or(ttl_)));
  policy->insert(slot, {.key_hash = mix64(table_.node(slot).value),
                        .weight_bytes = table_.bytes(slot),
                        .now_s = now_s(),
                        .expires_s = ttl_s == 0 ? 0 : cached_at_s + ttl_s,
                        .cost_us = cost_us});
}

uint32_t Residents::seconds_cached_at(int64_t cached_at_ns) const {
  return cached_at_ns == 0 ? now_s() : static_cast<uint32_t>(seconds_of(Nanos(cached_at_ns)));
}

void Residents::leave(Slot slot) {
  if (evict::Policy* policy = policy_of(table_.priority(slot))) policy->erase(slot);
}

Residents::Slot Residents::slot_of(NodeId node, const Hints& hints, uint32_t cost_us) {
  if (const auto slot = table_.find(node)) return *slot;
  const Slot slot = table_.insert(node, hints.priority);
  enter(slot, now_s(), hints, cost_us);
  if (since_mount_) since_mount_->note_use(node);
  return slot;
}

void Residents::set_bytes(Slot slot, uint64_t bytes) {
  table_.set_bytes(slot, bytes);
  if (evict::Policy* policy = policy_of(table_.priority(slot))) policy->resize(slot, bytes);
}

// --- room

bool Residents::reserve(NodeId node, uint64_t bytes, const Hints& hints, Nanos fetched_in) {
  CHECK(bytes % ResidentTable::kUnitBytes == 0);
  const uint32_t cost_us = fetched_in == Nanos(0) ? 0 : fetch_cost_.of(fetched_in);
  for (int attempt = 0; budget_.could_fit(bytes) && attempt < kAttemptsMax; ++attempt) {
    const Budget::Amount wanted{.bytes = bytes, .objects = is_known(node) ? 0U : 1U};
    if (budget_.take(wanted.bytes, wanted.objects)) {
      if (cover_ && !cover_(budget_.taken())) {
        budget_.settled(wanted.bytes);
        budget_.give_back(wanted.bytes, wanted.objects);
        break;
      }
      enter_reserved(node, wanted.objects, hints, cost_us);
      call_if_pressed();
      return true;
    }
    if (!make_room(node, wanted)) break;
  }
  refused_.add();
  if (when_refused_) when_refused_();
  return false;
}

bool Residents::is_known(NodeId node) const {
  const MutexLock lock(mutex_);
  return table_.find(node).has_value();
}

// From here on there may be a file of the node.
void Residents::enter_reserved(NodeId node, uint64_t objects_taken, const Hints& hints,
                               uint32_t cost_us) {
  const MutexLock lock(mutex_);
  const bool was_known = table_.find(node).has_value();
  slot_of(node, hints, cost_us);
  // Another thread entered it meanwhile, or it was forgotten.
  if (was_known && objects_taken != 0) budget_.give_back(0, 1);
  if (!was_known && objects_taken == 0) budget_.adopt(0, 1);
}

void Residents::call_if_pressed() {
  if (pressed_ && budget_.is_pressed(kSparePerMille)) pressed_();
}

// The victims of one search for room: those that are in use now are not asked again.
class Residents::Round {
 public:
  Round(Residents& residents, NodeId spared) : residents_(residents), spared_(spared) {}

  // Evicts one; false when none may go.
  bool evict_one(uint64_t wanted_bytes) { return evict_one(wanted_bytes, &Residents::choose); }
  bool evict_expired() { return evict_one(UINT64_MAX, &Residents::choose_expired); }
  const Budget::Amount& freed() const { return freed_; }

 private:
  using Choose = std::optional<Victim> (Residents::*)(evict::SlotFilter);

  bool evict_one(uint64_t wanted_bytes, Choose choose) {
    while (true) {
      const auto may_go = [this](Slot slot) NO_THREAD_SAFETY_ANALYSIS {
        const NodeId node = residents_.table_.node(slot);
        return node != spared_ && !busy_.contains(node);
      };
      const auto victim = (residents_.*choose)(may_go);
      if (!victim) return false;
      if (!residents_.evict_(victim->node, wanted_bytes)) {
        busy_.insert(victim->node);
        continue;
      }
      const uint64_t left_bytes = residents_.bytes_of(victim->node);
      const uint64_t gone_bytes = victim->bytes - std::min(victim->bytes, left_bytes);
      residents_.evicted_bytes_.add(gone_bytes);
      freed_.bytes += gone_bytes;
      if (left_bytes == 0) {
        residents_.evictions_.add();
        ++freed_.objects;
      }
      return true;
    }
  }

  Residents& residents_;
  const NodeId spared_;
  std::unordered_set<NodeId> busy_;
  Budget::Amount freed_;
};

std::optional<Residents::Victim> Residents::choose(evict::SlotFilter may_go) {
  const MutexLock lock(mutex_);
  for (const auto& policy : policies_) {
    if (!policy) continue;
    if (const auto slot = policy->victim(may_go))
      return Victim{table_.node(*slot), table_.bytes(*slot)};
  }
  return std::nullopt;
}

std::optional<Residents::Victim> Residents::choose_expired(evict::SlotFilter may_go) {
  const MutexLock lock(mutex_);
  for (const auto& policy : policies_) {
    if (!policy) continue;
    if (const auto slot = policy->expired(now_s(), may_go))
      return Victim{table_.node(*slot), table_.bytes(*slot)};
  }
  return std::nullopt;
}

bool Residents::make_room(NodeId for_node, const Budget::Amount& wanted) {
  if (is_counting()) return false;
  const Budget::Amount over = budget_.excess(wanted, 0);
  Round round(*this, for_node);
  while (round.freed().bytes < over.bytes || round.freed().objects < over.objects)
    if (!round.evict_one(over.bytes - std::min(over.bytes, round.freed().bytes))) return false;
  return true;
}

bool Residents::relieve(uint32_t evictions_max) {
  if (is_counting()) return false;
  Round round(*this, NodeId{});
  for (uint32_t i = 0; i < evictions_max; ++i) {
    const Budget::Amount over = budget_.excess({}, kSpareGoalPerMille);
    if (over.is_zero() || !round.evict_one(over.bytes)) return false;
  }
  return true;
}

bool Residents::expire(uint32_t evictions_max) {
  Round round(*this, NodeId{});
  for (uint32_t i = 0; i < evictions_max; ++i) {
    if (!round.evict_expired()) return false;
    expired_.add();
  }
  return true;
}

bool Residents::trim(uint32_t evictions_max) {
  Round round(*this, NodeId{});
  for (uint32_t i = 0; i < evictions_max; ++i) {
    const Budget::Amount over = budget_.excess({}, 0);
    if (over.is_zero() || !round.evict_one(over.bytes)) return false;
  }
  return true;
}

// --- what is there

void Residents::charge(NodeId node, uint64_t bytes) {
  if (bytes == 0) return;
  CHECK(bytes % ResidentTable::kUnitBytes == 0);
  const MutexLock lock(mutex_);
  budget_.settled(bytes);
  const bool is_new = !table_.find(node);
  const Slot slot = slot_of(node, {}, 0);  // forgotten meanwhile: it has begun again
  if (is_new) budget_.adopt(0, 1);
  set_bytes(slot, table_.bytes(slot) + bytes);
}

void Residents::cancel(uint64_t bytes) {
  budget_.settled(bytes);
  budget_.give_back(bytes, 0);
}

void Residents::release(NodeId node, uint64_t bytes) {
  CHECK(bytes % ResidentTable::kUnitBytes == 0);
  const MutexLock lock(mutex_);
  const auto slot = table_.find(node);
  if (!slot) return;  // forgotten meanwhile, with all its bytes
  const uint64_t given = std::min(bytes, table_.bytes(*slot));
  set_bytes(*slot, table_.bytes(*slot) - given);
  budget_.give_back(given, 0);
}

void Residents::settle(NodeId node, uint64_t bytes) {
  const MutexLock lock(mutex_);
  const auto slot = table_.find(node);
  if (!slot) return;
  const uint64_t before = table_.bytes(*slot);
  set_bytes(*slot, bytes);
  budget_.correct(before, table_.bytes(*slot));
}

std::optional<uint64_t> Residents::let_go(NodeId node) {
  const MutexLock lock(mutex_);
  const auto slot = table_.find(node);
  if (!slot) return std::nullopt;
  const uint64_t bytes = table_.bytes(*slot);
  leave(*slot);
  table_.erase(*slot);
  if (since_mount_) since_mount_->note_gone(node);
  return bytes;
}

void Residents::give_back(uint64_t object_bytes) {
  budget_.give_back(object_bytes, 1);
}

void Residents::adopt_growth(uint64_t bytes) {
  budget_.adopt(bytes, 0);
  call_if_pressed();
}

void Residents::adopt_orphan(uint64_t object_bytes) {
  budget_.adopt_expected(object_bytes, 1);
}

uint64_t Residents::forget(NodeId node) {
  const std::optional<uint64_t> bytes = let_go(node);
  if (bytes) give_back(*bytes);
  return bytes.value_or(0);
}

void Residents::touch(NodeId node) {
  const MutexLock lock(mutex_);
  const auto slot = table_.find(node);
  if (!slot) return;
  if (evict::Policy* policy = policy_of(table_.priority(*slot))) policy->hit(*slot);
  if (since_mount_) since_mount_->note_use(node);
}

void Residents::introduce(NodeId node, uint64_t bytes, int64_t cached_at_ns, const Hints& hints) {
  const MutexLock lock(mutex_);
  const auto known = table_.find(node);
  if (!known && since_mount_ && since_mount_->is_gone(node)) return;
  if (!known) return enter_earlier(node, bytes, cached_at_ns, hints);
  // Used before it was counted, by somebody who did not know what is wanted of it.
  if (table_.priority(*known) == hints.priority) return;
  leave(*known);
  table_.set_priority(*known, hints.priority);
  enter(*known, seconds_cached_at(cached_at_ns), hints);
}

void Residents::meet(NodeId node, uint64_t bytes, int64_t cached_at_ns) {
  const MutexLock lock(mutex_);
  if (!table_.find(node)) enter_earlier(node, bytes, cached_at_ns, {});
}

void Residents::enter_earlier(NodeId node, uint64_t bytes, int64_t cached_at_ns,
                              const Hints& hints) {
  const Slot slot = table_.insert(node, hints.priority);
  enter(slot, seconds_cached_at(cached_at_ns), hints);
  set_bytes(slot, bytes);
  budget_.adopt_expected(table_.bytes(slot), 1);
}

void Residents::end_census(bool is_whole) {
  may_have_leftovers_ |= !is_whole;
  if (!may_have_leftovers_) budget_.end_expectation();
  const MutexLock lock(mutex_);
  if (!since_mount_) return;
  for (const NodeId node : since_mount_->uses())
    if (const auto slot = table_.find(node))
      if (evict::Policy* policy = policy_of(table_.priority(*slot))) policy->hit(*slot);
  since_mount_.reset();
}

void Residents::end_leftovers(const Budget::Amount& left) {
  may_have_leftovers_ = false;
  budget_.adopt(left.bytes, left.objects);
  budget_.give_back(left_.bytes, left_.objects);
  left_ = left;
  if (!is_counting()) budget_.end_expectation();
}

bool Residents::has_counted_all() const {
  const MutexLock lock(mutex_);
  return !since_mount_ && !may_have_leftovers_;
}

bool Residents::is_counting() const {
  const MutexLock lock(mutex_);
  return since_mount_ && budget_.expects_more();
}

size_t Residents::count() const {
  const MutexLock lock(mutex_);
  return table_.size();
}

uint64_t Residents::bytes_of(NodeId node) const {
  const MutexLock lock(mutex_);
  const auto slot = table_.find(node);
  return slot ? table_.bytes(*slot) : 0;
}

size_t Residents::memory_bytes() const {
  const MutexLock lock(mutex_);
  return table_.size_bytes();
}

}  // namespace larder::cache
