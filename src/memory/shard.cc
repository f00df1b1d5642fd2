#include "memory/shard.h"

#include "base/check.h"

namespace larder::memory {

namespace {

constexpr size_t kSlotsAtFirst = 64;

}  // namespace

uint64_t hash_of(BlockKey key) {
  constexpr uint64_t kOdd = 0x9e3779b97f4a7c15ULL;  // spreads consecutive objects apart
  return mix64(key.object.value * kOdd + key.block);
}

Shard::Shard(size_t budget_bytes, std::unique_ptr<evict::Policy> policy)
    : budget_bytes_(budget_bytes),
      policy_(std::move(policy)),
      hit_is_exclusive_(policy_->hit_lock() == evict::HitLock::kExclusive),
      by_key_(1, kNone),
      by_object_(1, kNone) {}

buffer::BufferRef Shard::get(BlockKey key, uint64_t hash) {
  if (hit_is_exclusive_) {
    WriterLock lock(mutex_);
    return use(key, hash);
  }
  ReaderLock lock(mutex_);
  return use(key, hash);
}

buffer::BufferRef Shard::use(BlockKey key, uint64_t hash) {
  const Slot slot = find(key, hash);
  if (slot == kNone) return {};
  policy_->hit(slot);
  return entries_[slot].block;
}

Shard::PutOutcome Shard::put(BlockKey key, uint64_t hash, buffer::BufferRef block, uint32_t now_s) {
  const size_t weight_bytes = block.bytes().size();
  const evict::Item item{.key_hash = hash, .weight_bytes = weight_bytes, .now_s = now_s};
  PutOutcome outcome;
  WriterLock lock(mutex_);
  // The older version goes in any case: it is not what the block holds now.
  if (const Slot older = find(key, hash); older != kNone) outcome.replaced_bytes = remove(older);
  if (weight_bytes > budget_bytes_) return outcome;
  while (used_bytes() + weight_bytes > budget_bytes_) {
    const auto victim = policy_->victim([](Slot) { return true; });
    CHECK(victim.has_value());
    outcome.evicted_bytes += remove(*victim);
  }
  const Slot slot = take_free_slot();
  Entry& entry = entries_[slot];
  entry.key = key;
  entry.block = std::move(block);
  entry.weight_bytes = static_cast<uint32_t>(weight_bytes);
  chain(slot, hash);
  policy_->insert(slot, item);
  used_bytes_.fetch_add(weight_bytes, std::memory_order_relaxed);
  outcome.kept = true;
  return outcome;
}

uint64_t Shard::erase(BlockKey key, uint64_t hash) {
  WriterLock lock(mutex_);
  const Slot slot = find(key, hash);
  return slot != kNone ? remove(slot) : 0;
}

uint64_t Shard::erase_object(ObjectId object, uint64_t first_block) {
  uint64_t erased_bytes = 0;
  WriterLock lock(mutex_);
  for (Slot slot = by_object_[bucket_of(object_hash(object))]; slot != kNone;) {
    const Entry& entry = entries_[slot];
    const Slot next = entry.next_of_object;
    if (entry.key.object == object && entry.key.block >= first_block) erased_bytes += remove(slot);
    slot = next;
  }
  return erased_bytes;
}

Shard::Slot Shard::find(BlockKey key, uint64_t hash) const {
  Slot slot = by_key_[bucket_of(hash)];
  while (slot != kNone && entries_[slot].key != key) slot = entries_[slot].next_by_key;
  return slot;
}

uint64_t Shard::remove(Slot slot) {
  Entry& entry = entries_[slot];
  const uint32_t weight_bytes = entry.weight_bytes;
  policy_->erase(slot);
  unchain(slot, hash_of(entry.key));
  used_bytes_.fetch_sub(weight_bytes, std::memory_order_relaxed);
  entry = Entry{};
  entry.next_by_key = free_;
  free_ = slot;
  return weight_bytes;
}

void Shard::chain(Slot slot, uint64_t hash) {
  Entry& entry = entries_[slot];
  Slot& key_head = by_key_[bucket_of(hash)];
  entry.next_by_key = key_head;
  key_head = slot;
  Slot& object_head = by_object_[bucket_of(object_hash(entry.key.object))];
  entry.previous_of_object = kNone;
  entry.next_of_object = object_head;
  if (object_head != kNone) entries_[object_head].previous_of_object = slot;
  object_head = slot;
}

void Shard::unchain(Slot slot, uint64_t hash) {
  const Entry& entry = entries_[slot];
  Slot* link = &by_key_[bucket_of(hash)];
  while (*link != slot) link = &entries_[*link].next_by_key;
  *link = entry.next_by_key;
  if (entry.next_of_object != kNone)
    entries_[entry.next_of_object].previous_of_object = entry.previous_of_object;
  if (entry.previous_of_object != kNone)
    entries_[entry.previous_of_object].next_of_object = entry.next_of_object;
  else
    by_object_[bucket_of(object_hash(entry.key.object))] = entry.next_of_object;
}

Shard::Slot Shard::take_free_slot() {
  if (free_ == kNone) grow();
  return std::exchange(free_, entries_[free_].next_by_key);
}

// Doubles the table.  The number of slots is bounded by the budget over the smallest buffer.
void Shard::grow() {
  const size_t old_slots = entries_.size();
  const size_t slots = old_slots == 0 ? kSlotsAtFirst : 2 * old_slots;
  entries_.resize(slots);
  policy_->reserve(static_cast<Slot>(slots));
  by_key_.assign(slots, kNone);
  by_object_.assign(slots, kNone);
  for (Slot slot = 0; slot < old_slots; ++slot) chain(slot, hash_of(entries_[slot].key));
  for (size_t slot = slots; slot-- > old_slots;) {
    entries_[slot].next_by_key = free_;
    free_ = static_cast<Slot>(slot);
  }
}

}  // namespace larder::memory
