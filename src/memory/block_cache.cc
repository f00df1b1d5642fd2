#include "memory/block_cache.h"

#include <bit>
#include <deque>

#include "base/check.h"
#include "evict/registry.h"
#include "memory/shard.h"

namespace larder::memory {

struct BlockCache::State {
  State(const BlockCacheOptions& options, Registry& registry, const Clock& clock_in)
      : clock(clock_in),
        budget_bytes(options.budget_bytes),
        hits(registry.counter("larder_memory_hits_total", "Blocks found in the memory tier")),
        misses(
            registry.counter("larder_memory_misses_total", "Blocks not found in the memory tier")),
        inserted_bytes(registry.counter("larder_memory_inserted_bytes_total",
                                        "Bytes of buffers taken into the memory tier")),
        evicted_bytes(registry.counter("larder_memory_evicted_bytes_total",
                                       "Bytes of buffers evicted from the memory tier")),
        refused(registry.counter("larder_memory_refused_total",
                                 "Blocks offered to the memory tier and not kept")),
        used(registry.gauge("larder_memory_used_bytes", "Bytes of buffers in the memory tier")) {
    size_t count = std::bit_ceil(std::max<size_t>(options.shards, 1));
    while (count > 1 && budget_bytes / count < kShareMin) count /= 2;
    for (size_t i = 0; i < count; ++i) {
      auto policy = evict::make_policy(options.policy);
      CHECK_MSG(policy.has_value(), policy.error().message());
      shards.emplace_back(budget_bytes / count, std::move(*policy));
    }
    // The low bits choose the bucket.
    shard_shift = 64 - static_cast<unsigned>(std::countr_zero(count));
  }

  Shard& shard_of(uint64_t hash) { return shards[shards.size() == 1 ? 0 : hash >> shard_shift]; }

  const Clock& clock;
  const size_t budget_bytes;
  unsigned shard_shift = 0;
  std::deque<Shard> shards;
  Counter& hits;
  Counter& misses;
  Counter& inserted_bytes;
  Counter& evicted_bytes;
  Counter& refused;
  Gauge& used;
};

BlockCache::BlockCache(const BlockCacheOptions& options, Registry& registry, const Clock& clock)
    : state_(std::make_unique<State>(options, registry, clock)) {}

BlockCache::~BlockCache() {
  state_->used.sub(static_cast<int64_t>(used_bytes()));
}

buffer::BufferRef BlockCache::get(BlockKey key) {
  const uint64_t hash = hash_of(key);
  buffer::BufferRef block = state_->shard_of(hash).get(key, hash);
  (block ? state_->hits : state_->misses).add();
  return block;
}

void BlockCache::put(BlockKey key, buffer::BufferRef block) {
  CHECK(block);
  const uint64_t hash = hash_of(key);
  const auto weight_bytes = static_cast<int64_t>(block.bytes().size());
  const auto now_s = std::chrono::duration_cast<std::chrono::seconds>(state_->clock.monotonic());
  const Shard::PutOutcome outcome =
      state_->shard_of(hash).put(key, hash, std::move(block), static_cast<uint32_t>(now_s.count()));
  int64_t change_bytes = -static_cast<int64_t>(outcome.replaced_bytes + outcome.evicted_bytes);
  if (outcome.kept) {
    change_bytes += weight_bytes;
    state_->inserted_bytes.add(static_cast<uint64_t>(weight_bytes));
  } else {
    state_->refused.add();
  }
  if (outcome.evicted_bytes > 0) state_->evicted_bytes.add(outcome.evicted_bytes);
  if (change_bytes != 0) state_->used.add(change_bytes);
}

void BlockCache::erase(BlockKey key) {
  const uint64_t hash = hash_of(key);
  state_->used.sub(static_cast<int64_t>(state_->shard_of(hash).erase(key, hash)));
}

void BlockCache::erase_object(ObjectId object, uint64_t first_block) {
  for (Shard& shard : state_->shards)
    state_->used.sub(static_cast<int64_t>(shard.erase_object(object, first_block)));
}

size_t BlockCache::used_bytes() const {
  size_t sum = 0;
  for (const Shard& shard : state_->shards) sum += shard.used_bytes();
  return sum;
}

size_t BlockCache::budget_bytes() const {
  return state_->budget_bytes;
}

}  // namespace larder::memory
