#include "evict/segments.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "base/check.h"

namespace larder::evict {

namespace {

constexpr double kWindowShare = 0.01;    // of the whole, as in the paper
constexpr double kProtectedShare = 0.8;  // of what is not the window, by frequency
constexpr double kRecencyShare = 1.0;    // the same by recency
constexpr uint32_t kTicksPerTurn = 64;   // a turn: as many uses as there are items
constexpr uint32_t kTickMask = (1U << 14) - 1;
constexpr double kTurnsPerOctave = 0.2;  // how much later an item twice as much worth was used
constexpr double kDuelTurns = 4;         // how long a duel is observed
// Once a fetch has begun its bytes come at 100 MB/s.
constexpr double kBytesPerUs = 100;

// A weight as a number of four significant bits: exponent in the upper six, the rest below.
constexpr uint32_t kMantissaBits = 4;
constexpr uint32_t round_weight(uint64_t weight) {
  const auto width = static_cast<uint32_t>(std::bit_width(weight));
  if (width <= kMantissaBits + 1) return static_cast<uint32_t>(weight);
  const uint32_t shift = width - kMantissaBits - 1;
  // The leading bit, which is always set, adds one to the exponent.
  return (shift << kMantissaBits) + static_cast<uint32_t>(weight >> shift);
}
constexpr uint64_t weight_from(uint32_t rounded) {
  if (rounded < 2U << kMantissaBits) return rounded;
  const uint32_t shift = (rounded >> kMantissaBits) - 1;
  return uint64_t{(rounded & ((1U << kMantissaBits) - 1)) | 1U << kMantissaBits} << shift;
}
static_assert(weight_from(round_weight(31)) == 31 && weight_from(round_weight(32)) == 32);
static_assert(weight_from(round_weight(100)) == 100 && weight_from(round_weight(101)) == 100);
static_assert(round_weight(UINT64_MAX) < 1024);

// A cost by its octave; 0: not known.
constexpr uint32_t round_cost(uint32_t cost_us) {
  return std::min<uint32_t>(static_cast<uint32_t>(std::bit_width(cost_us)), 31);
}

}  // namespace

void Segments::reserve(Slot slots) {
  CHECK(slots < kEnd);
  if (slots > entries_.size()) entries_.resize(slots);
}

void Segments::insert(Slot slot, uint32_t hash, uint64_t weight, uint32_t cost_us) {
  CHECK(slot < entries_.size() && !contains(slot));
  tick();
  admit_candidates();  // nothing had to go since they left the window
  Entry& entry = entries_[slot];
  entry.hash = hash;
  entry.weight = round_weight(weight) & 1023U;
  entry.cost = round_cost(cost_us) & 31U;
  entry.used = ticks_ & kTickMask;
  link_front(slot, kWindow);
  ++count_;
  settle();
}

void Segments::hit(Slot slot) {
  CHECK(contains(slot));
  tick();
  Entry& entry = entries_[slot];
  entry.used = ticks_ & kTickMask;
  if (entry.segment == kWindow || entry.segment == kProtected) {  // most hits: no weight moves
    lists_[entry.segment].move_to_front(entries_, slot);
    return;
  }
  move_to_front(slot, kProtected);
  settle();
}

void Segments::resize(Slot slot, uint64_t weight) {
  CHECK(contains(slot));
  Entry& entry = entries_[slot];
  const uint64_t before = weight_from(entry.weight);
  entry.weight = round_weight(weight) & 1023U;
  const uint64_t after = weight_from(entry.weight);
  lists_[entry.segment].weight += after - before;
  weight_ += after - before;
  settle();
}

void Segments::erase(Slot slot) {
  CHECK(contains(slot));
  unlink(slot);
  entries_[slot] = Entry{};
  --count_;
}

std::optional<Slot> Segments::victim(bool observe, SlotFilter evictable) {
  const auto chosen = preference_ == Preference::kFrequency ? by_frequency(observe, evictable)
                                                            : by_recency(evictable);
  return chosen ? chosen : last_of(kWindow, evictable);
}

uint64_t Segments::weight_of(Slot slot) const {
  return weight_from(entries_[slot].weight);
}

std::optional<Slot> Segments::by_frequency(bool observe, SlotFilter evictable) {
  auto resident = last_of(kProbation, evictable);
  if (!resident) resident = last_of(kProtected, evictable);
  for (Slot candidate = lists_[kCandidates].back; candidate != kEnd;
       candidate = lists_[kCandidates].back) {
    const bool may_go = evictable(candidate);
    if (may_go && (!resident || !admits(candidate, *resident, observe))) return candidate;
    move_to_front(candidate, kProbation);
    if (may_go) break;
  }
  return resident;
}

std::optional<Slot> Segments::by_recency(SlotFilter evictable) {
  admit_candidates();
  const auto once = last_of(kProbation, evictable);
  const auto often = last_of(kProtected, evictable);
  if (!once || !often) return once ? once : often;
  return staleness(*often) > staleness(*once) ? often : once;
}

void Segments::admit_candidates() {
  while (lists_[kCandidates].back != kEnd) move_to_front(lists_[kCandidates].back, kProbation);
}

bool Segments::admits(Slot candidate, Slot resident, bool observe) {
  const Entry& c = entries_[candidate];
  const Entry& r = entries_[resident];
  const unsigned c_uses = sketch_.estimate(c.hash);
  const unsigned r_uses = sketch_.estimate(r.hash);
  if (observe)
    odds_.observe(c.hash, c_uses, r.hash, r_uses,
                  static_cast<uint64_t>(kDuelTurns * static_cast<double>(count_)) + 1);
  return odds_.of(c_uses, r_uses) * worth_per_byte(c) > worth_per_byte(r);
}

double Segments::worth_per_byte(const Entry& entry) const {
  const auto weight = static_cast<double>(std::max<uint64_t>(weight_from(entry.weight), 1));
  const double cost_us =
      entry.cost != 0 ? std::exp2(entry.cost - 0.5) : static_cast<double>(kUsualCostUs);
  return (cost_us + weight / kBytesPerUs) / weight;
}

double Segments::staleness(Slot slot) const {
  const Entry& entry = entries_[slot];
  const double uses = std::max(sketch_.estimate(entry.hash), 1U);
  const double bonus_turns = kTurnsPerOctave * std::log2(uses * worth_per_byte(entry));
  const double turn_ticks =
      std::min<double>(kTicksPerTurn, static_cast<double>(count_));  // small ones: a tick a use
  return static_cast<double>((ticks_ - entry.used) & kTickMask) - bonus_turns * turn_ticks;
}

std::optional<Slot> Segments::last_of(Segment segment, SlotFilter evictable) const {
  const Slot slot = lists_[segment].last(entries_, evictable);
  return slot != kEnd ? std::optional(slot) : std::nullopt;
}

void Segments::settle() {
  const List& window = lists_[kWindow];
  const auto window_target = static_cast<uint64_t>(kWindowShare * static_cast<double>(weight_));
  while (window.weight > window_target && window.back != window.front)
    move_to_front(window.back, kCandidates);
  const List& often = lists_[kProtected];
  const double share = preference_ == Preference::kFrequency ? kProtectedShare : kRecencyShare;
  const auto protected_target =
      static_cast<uint64_t>(share * static_cast<double>(weight_ - window.weight));
  while (often.weight > protected_target && often.back != kEnd)
    move_to_front(often.back, kProbation);
}

void Segments::tick() {
  if (++uses_in_tick_ < count_ / kTicksPerTurn) return;
  uses_in_tick_ = 0;
  ++ticks_;
}

void Segments::link_front(Slot slot, Segment segment) {
  Entry& entry = entries_[slot];
  List& list = lists_[segment];
  entry.segment = segment;
  list.push_front(entries_, slot);
  list.weight += weight_from(entry.weight);
  weight_ += weight_from(entry.weight);
}

void Segments::unlink(Slot slot) {
  const Entry& entry = entries_[slot];
  List& list = lists_[entry.segment];
  list.remove(entries_, slot);
  list.weight -= weight_from(entry.weight);
  weight_ -= weight_from(entry.weight);
}

void Segments::move_to_front(Slot slot, Segment segment) {
  unlink(slot);
  link_front(slot, segment);
}

}  // namespace larder::evict
