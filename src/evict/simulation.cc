#include "evict/simulation.h"

#include <algorithm>
#include <queue>

#include "base/check.h"
#include "base/checksum.h"

namespace larder::evict {

namespace {

constexpr Slot kNone = UINT32_MAX;
constexpr uint64_t kNever = UINT64_MAX;

// A cache of a trace's items.
class Cache {
 public:
  Cache(const Trace& trace, Policy& policy, uint64_t capacity, uint32_t ttl_s)
      : policy_(policy), capacity_(capacity), ttl_s_(ttl_s), slot_of_(trace.distinct, kNone) {}

  // Whether it was a hit.
  bool request(uint32_t key, uint64_t size, uint32_t now_s) {
    drop_expired(now_s);
    const Slot slot = slot_of_[key];
    if (slot == kNone) {
      take_in(key, size, now_s);
      return false;
    }
    if (entries_[slot].size != size) {  // another version of it
      remove(slot);
      take_in(key, size, now_s);
      return false;
    }
    policy_.hit(slot);
    return true;
  }

 private:
  struct Entry {
    uint32_t key = 0;
    uint64_t size = 0;
  };

  void drop_expired(uint32_t now_s) {
    while (const auto slot = policy_.expired(now_s, [](Slot) { return true; })) remove(*slot);
  }
  void take_in(uint32_t key, uint64_t size, uint32_t now_s) {
    if (size > capacity_) return;
    make_room(size);
    if (free_.empty()) grow();
    const Slot slot = free_.back();
    free_.pop_back();
    entries_[slot] = {key, size};
    slot_of_[key] = slot;
    used_ += size;
    policy_.insert(
        slot,
        {.key_hash = mix64(key), .weight_bytes = size, .now_s = now_s, .expires_s = expiry(now_s)});
  }
  uint32_t expiry(uint32_t now_s) const {
    if (ttl_s_ == 0) return 0;
    return now_s + std::min(ttl_s_, UINT32_MAX - now_s);
  }
  void make_room(uint64_t size) {
    while (used_ + size > capacity_) {
      const auto victim = policy_.victim([](Slot) { return true; });
      CHECK(victim.has_value());
      remove(*victim);
    }
  }
  void remove(Slot slot) {
    policy_.erase(slot);
    slot_of_[entries_[slot].key] = kNone;
    used_ -= entries_[slot].size;
    free_.push_back(slot);
  }
  void grow() {
    const auto old = static_cast<Slot>(entries_.size());
    const Slot slots = std::max<Slot>(64, 2 * old);
    entries_.resize(slots);
    policy_.reserve(slots);
    for (Slot slot = slots; slot-- > old;) free_.push_back(slot);
  }

  Policy& policy_;
  const uint64_t capacity_;
  const uint32_t ttl_s_;
  uint64_t used_ = 0;
  std::vector<Slot> slot_of_;  // by key
  std::vector<Entry> entries_;
  std::vector<Slot> free_;
};

// The next request for the same key, by request; kNever: none.
std::vector<uint64_t> next_uses(const Trace& trace) {
  std::vector<uint64_t> next(trace.keys.size());
  std::vector<uint64_t> later(trace.distinct, kNever);
  for (size_t i = trace.keys.size(); i-- > 0;) {
    next[i] = later[trace.keys[i]];
    later[trace.keys[i]] = i;
  }
  return next;
}

void count(HitCounts& counts, uint64_t size, bool hit) {
  ++counts.requests;
  counts.bytes += size;
  if (!hit) return;
  ++counts.hits;
  counts.hit_bytes += size;
}

HitCounts exact_optimum(const Trace& trace, uint64_t capacity) {
  const std::vector<uint64_t> next = next_uses(trace);
  struct Cached {
    uint64_t next_use;
    uint32_t key;
    bool operator<(const Cached& other) const { return next_use < other.next_use; }
  };
  // Entries of earlier uses stay in the queue: such a use is not in the future, and so not the
  // last.
  std::priority_queue<Cached> furthest;
  std::vector<uint64_t> next_of(trace.distinct, 0);  // of cached keys; 0: not cached
  uint64_t cached = 0;
  HitCounts counts;
  for (size_t i = 0; i < trace.keys.size(); ++i) {
    const uint32_t key = trace.keys[i];
    const bool hit = next_of[key] != 0;
    count(counts, 1, hit);
    if (capacity == 0) continue;
    if (!hit && cached == capacity) {
      while (next_of[furthest.top().key] != furthest.top().next_use) furthest.pop();
      next_of[furthest.top().key] = 0;
      furthest.pop();
      --cached;
    }
    if (!hit) ++cached;
    next_of[key] = next[i];
    furthest.push({next[i], key});
  }
  return counts;
}

// The intervals between two requests of the same key.
struct Interval {
  uint64_t length;  // in requests
  uint64_t size;
};

// How much of what the intervals give can be had for `room_time`, in the order given.
template <class Value>
uint64_t best_value(const std::vector<Interval>& intervals, double room_time, Value value) {
  double sum = 0;
  for (const Interval& interval : intervals) {
    const double needed = static_cast<double>(interval.length) * static_cast<double>(interval.size);
    if (needed > room_time) {
      sum += static_cast<double>(value(interval)) * room_time / needed;  // a part of it
      break;
    }
    room_time -= needed;
    sum += static_cast<double>(value(interval));
  }
  return static_cast<uint64_t>(sum + 0.5);
}

HitCounts bound_on_optimum(const Trace& trace, uint64_t capacity) {
  HitCounts counts;
  std::vector<Interval> intervals;
  const std::vector<uint64_t> next = next_uses(trace);
  for (size_t i = 0; i < next.size(); ++i) {
    count(counts, trace.size_of(i), false);
    if (next[i] == kNever) continue;
    const uint64_t size = trace.size_of(next[i]);
    if (size == trace.size_of(i) && size <= capacity) intervals.push_back({next[i] - i, size});
  }
  const double room_time = static_cast<double>(capacity) * static_cast<double>(next.size());
  std::ranges::sort(intervals, {}, [](const Interval& i) {
    return static_cast<double>(i.length) * static_cast<double>(i.size);
  });
  counts.hits = best_value(intervals, room_time, [](const Interval&) { return uint64_t{1}; });
  std::ranges::sort(intervals, {}, &Interval::length);
  counts.hit_bytes = best_value(intervals, room_time, [](const Interval& i) { return i.size; });
  return counts;
}

}  // namespace

HitCounts replay(const Trace& trace, Policy& policy, uint64_t capacity, uint32_t ttl_s) {
  Cache cache(trace, policy, capacity, ttl_s);
  HitCounts counts;
  for (size_t i = 0; i < trace.keys.size(); ++i)
    count(counts, trace.size_of(i),
          cache.request(trace.keys[i], trace.size_of(i), trace.time_of(i)));
  return counts;
}

HitCounts optimum(const Trace& trace, uint64_t capacity) {
  return trace.sizes_bytes.empty() ? exact_optimum(trace, capacity)
                                   : bound_on_optimum(trace, capacity);
}

}  // namespace larder::evict
