#include "cache/residents.h"

#include <algorithm>
#include <unordered_set>

#include "base/check.h"

namespace larder::cache {

Residents::Residents(std::unique_ptr<evict::Policy> policy, uint64_t limit_bytes,
                     Registry& registry, const Clock& clock)
    : limit_bytes_(limit_bytes),
      clock_(clock),
      evictions_(registry.counter("larder_evictions_total", "Objects evicted to make room.")),
      evicted_bytes_(registry.counter("larder_evicted_bytes_total", "Bytes of evicted objects.")),
      refused_(registry.counter("larder_cache_full_total",
                                "Times nothing could be evicted and the cache was bypassed.")),
      policy_(std::move(policy)) {
  registry.gauge_callback("larder_cache_used_bytes", "Bytes of all objects on the cache disk.",
                          [this] { return static_cast<int64_t>(used_bytes()); });
  registry.gauge_callback("larder_cache_limit_bytes", "The limit set by size=.",
                          [this] { return static_cast<int64_t>(limit_bytes_); });
  registry.gauge_callback("larder_cached_files", "Files with an object on the cache disk.",
                          [this] { return static_cast<int64_t>(count()); });
}

evict::Slot Residents::slot_of(NodeId node) {
  if (const auto it = by_node_.find(node); it != by_node_.end()) return it->second;
  evict::Slot slot;
  if (!free_.empty()) {
    slot = free_.back();
    free_.pop_back();
  } else {
    slot = static_cast<evict::Slot>(slots_.size());
    slots_.emplace_back();
    policy_->reserve(static_cast<evict::Slot>(slots_.capacity()));
  }
  slots_[slot] = {node, 0};
  by_node_.emplace(node, slot);
  const auto now_s = static_cast<uint32_t>(
      std::chrono::duration_cast<std::chrono::seconds>(clock_.monotonic()).count());
  policy_->insert(slot, {mix64(node.value), 0, now_s});
  if (!census_done_) used_since_mount_.push_back(node);
  return slot;
}

bool Residents::reserve(NodeId node, uint64_t bytes) {
  for (;;) {
    uint64_t used = used_bytes_.load(std::memory_order_relaxed);
    while (used + bytes <= limit_bytes_)
      if (used_bytes_.compare_exchange_weak(used, used + bytes, std::memory_order_relaxed))
        return true;
    if (!make_room(node, bytes)) {
      refused_.add();
      return false;
    }
  }
}

void Residents::charge(NodeId node, uint64_t bytes) {
  if (bytes == 0) return;
  MutexLock lock(mutex_);
  slots_[slot_of(node)].bytes += bytes;
}

void Residents::cancel(uint64_t bytes) {
  used_bytes_.fetch_sub(bytes, std::memory_order_relaxed);
}

bool Residents::make_room(NodeId for_node, uint64_t bytes) {
  if (bytes > limit_bytes_) return false;
  // Those that are in use now; a victim is asked for again and again until one goes.
  std::unordered_set<evict::Slot> busy;
  while (used_bytes() + bytes > limit_bytes_) {
    NodeId victim;
    evict::Slot slot;
    uint64_t held = 0;
    {
      MutexLock lock(mutex_);
      const auto may_go = [&](evict::Slot s) NO_THREAD_SAFETY_ANALYSIS {
        return slots_[s].node != for_node && !busy.contains(s);
      };
      const auto chosen = policy_->victim(may_go);
      if (!chosen) return false;
      slot = *chosen;
      victim = slots_[slot].node;
      held = slots_[slot].bytes;
    }
    if (evict_(victim)) {
      evictions_.add();
      evicted_bytes_.add(held);
    } else {
      busy.insert(slot);
    }
  }
  return true;
}

void Residents::release(NodeId node, uint64_t bytes) {
  MutexLock lock(mutex_);
  const auto it = by_node_.find(node);
  if (it == by_node_.end()) return;  // forgotten meanwhile, with all its bytes
  Entry& entry = slots_[it->second];
  const uint64_t given = std::min(bytes, entry.bytes);
  entry.bytes -= given;
  used_bytes_.fetch_sub(given, std::memory_order_relaxed);
}

uint64_t Residents::forget(NodeId node) {
  MutexLock lock(mutex_);
  const auto it = by_node_.find(node);
  if (it == by_node_.end()) return 0;
  const evict::Slot slot = it->second;
  const uint64_t bytes = slots_[slot].bytes;
  policy_->erase(slot);
  by_node_.erase(it);
  free_.push_back(slot);
  used_bytes_.fetch_sub(bytes, std::memory_order_relaxed);
  return bytes;
}

void Residents::touch(NodeId node) {
  MutexLock lock(mutex_);
  if (const auto it = by_node_.find(node); it != by_node_.end()) {
    policy_->hit(it->second);
    if (!census_done_) used_since_mount_.push_back(node);
  }
}

void Residents::introduce(NodeId node, uint64_t bytes) {
  MutexLock lock(mutex_);
  if (by_node_.contains(node)) return;
  slots_[slot_of(node)].bytes = bytes;
  if (!census_done_) used_since_mount_.pop_back();  // slot_of took it for a use
  used_bytes_.fetch_add(bytes, std::memory_order_relaxed);
}

void Residents::end_census() {
  MutexLock lock(mutex_);
  census_done_ = true;
  for (const NodeId node : used_since_mount_)
    if (const auto it = by_node_.find(node); it != by_node_.end()) policy_->hit(it->second);
  used_since_mount_ = {};
}

size_t Residents::count() const {
  MutexLock lock(mutex_);
  return by_node_.size();
}

}  // namespace larder::cache
