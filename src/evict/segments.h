// The lists of W-TinyLFU (Einziger, Friedman, Manes 2017) and its two ways to choose a victim.
//
// A new item comes into the window.  What falls out of it is a candidate until the next item comes:
// if something has to go meanwhile it is judged, and goes or joins the main part, else it joins
// that at once: probation, and protected when it is used again.
//   - By frequency: the candidate duels with the end of probation.  It stays when it is worth more:
//     by the odds that it is used sooner (DuelOdds), by the room it takes, and by what fetching it
//     again would cost (as in GreedyDual-Size-Frequency: Cherkasova 1998).
//   - By recency: every candidate is let in, and what was used longest ago goes; an item twice as
//     much worth counts as used a little later.  This is nearly LRU.
// Shares are of the items' whole weight, so no capacity need be known.
//
// 16 bytes a slot: weight and cost are rounded (by 3 % and 40 % at most), times are in 64ths of as
// many uses as there are items, modulo 16,384.
//
// Invariants
//   - Each slot of an item is in one list, that of its segment, whose weight is the sum of theirs.
//   - Window, probation and protected are in order of use, but for what was demoted to probation.
// Not thread-safe.
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "base/paged_array.h"
#include "evict/duel_odds.h"
#include "evict/frequency_sketch.h"
#include "evict/policy.h"
#include "evict/slot_list.h"

namespace larder::evict {

enum class Preference : uint8_t { kFrequency, kRecency };

class Segments {
 public:
  // Both are told of uses by the owner.
  Segments(const FrequencySketch& sketch, DuelOdds& odds) : sketch_(sketch), odds_(odds) {}

  void reserve(Slot slots);
  // cost_us 0: not known.
  void insert(Slot slot, uint32_t hash, uint64_t weight, uint32_t cost_us);
  void hit(Slot slot);
  void resize(Slot slot, uint64_t weight);
  void erase(Slot slot);
  // How victims are chosen from here on; by frequency at first.
  void prefer(Preference preference) { preference_ = preference; }
  Preference preference() const { return preference_; }
  // May judge candidates; names a slot only.  Observes its duels when told to.
  std::optional<Slot> victim(bool observe, SlotFilter evictable);

  bool contains(Slot slot) const {
    return slot < entries_.size() && entries_[slot].segment != kAbsent;
  }
  uint32_t hash_of(Slot slot) const { return entries_[slot].hash; }
  uint64_t weight_of(Slot slot) const;
  uint64_t weight() const { return weight_; }  // as rounded
  size_t count() const { return count_; }
  size_t size_bytes() const { return entries_.size_bytes(); }  // beside the object itself

 private:
  enum Segment : uint32_t { kWindow, kCandidates, kProbation, kProtected, kAbsent };
  static constexpr size_t kSegments = kAbsent;
  static constexpr Slot kEnd = SlotList::kEnd;
  struct Entry {
    Slot previous = kEnd;
    Slot next = kEnd;
    uint32_t hash = 0;
    uint32_t weight : 10 = 0;  // rounded, see segments.cc
    uint32_t cost : 5 = 0;
    Segment segment : 3 = kAbsent;
    uint32_t used : 14 = 0;  // in ticks
  };
  static_assert(sizeof(Entry) == 16);
  struct List : SlotList {  // used last at the front
    uint64_t weight = 0;
  };

  void link_front(Slot slot, Segment segment);
  void unlink(Slot slot);
  void move_to_front(Slot slot, Segment segment);
  // Lets what is too much out of window and protected.
  void settle();
  void tick();
  // From the back of the list, the first that may go.
  std::optional<Slot> last_of(Segment segment, SlotFilter evictable) const;
  std::optional<Slot> by_frequency(bool observe, SlotFilter evictable);
  std::optional<Slot> by_recency(SlotFilter evictable);
  void admit_candidates();
  bool admits(Slot candidate, Slot resident, bool observe);
  // What a hit saves, a byte.
  double worth_per_byte(const Entry& entry) const;
  // Uses since, in ticks, less what the item's worth makes up for.
  double staleness(Slot slot) const;

  const FrequencySketch& sketch_;
  DuelOdds& odds_;
  Preference preference_ = Preference::kFrequency;
  PagedArray<Entry, 256> entries_;
  std::array<List, kSegments> lists_;
  uint64_t weight_ = 0;
  size_t count_ = 0;
  uint32_t ticks_ = 0;
  size_t uses_in_tick_ = 0;
};

}  // namespace larder::evict
