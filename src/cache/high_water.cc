#include "cache/high_water.h"

#include <algorithm>
#include <utility>

#include "base/log.h"

namespace larder::cache {
namespace {

constexpr const char* kBytesRecord = "object-bytes-max";
constexpr const char* kObjectsRecord = "objects-max";
constexpr uint64_t kBytesStepMin = 64 << 20;
constexpr uint64_t kObjectsStepMin = 1024;
constexpr uint64_t kStepsMin = 16;  // for a small cache

// What to note for `taken`, of which there may be `most`.
uint64_t ahead_of(uint64_t taken, uint64_t step_min, uint64_t most) {
  return std::max(taken, std::min(most, taken + std::max(step_min, taken / 8)));
}

Result<void> put(catalog::Catalog& catalog, const Budget::Amount& mark) {
  catalog::Batch batch;
  batch.put_number(kBytesRecord, mark.bytes);
  batch.put_number(kObjectsRecord, mark.objects);
  return catalog.apply(batch);
}

}  // namespace

Result<HighWater> HighWater::load(catalog::Catalog& catalog, const Budget& budget, bool is_empty) {
  TRY_ASSIGN(const auto bytes, catalog.number(kBytesRecord));
  TRY_ASSIGN(const auto objects, catalog.number(kObjectsRecord));
  if (bytes && objects) return HighWater(catalog, budget, {.bytes = *bytes, .objects = *objects});
  if (!is_empty) return HighWater(catalog, budget, budget.most_objects());
  // Before anything is cached, or a kill would leave the next run without a word.  Need not be
  // durable: what is noted before something is cached is.
  TRY(put(catalog, {}));
  return HighWater(catalog, budget, Budget::Amount{});
}

HighWater::HighWater(catalog::Catalog& catalog, const Budget& budget, const Budget::Amount& mark)
    : catalog_(catalog), budget_(budget), bytes_(mark.bytes), objects_(mark.objects) {}

HighWater::HighWater(HighWater&& other) noexcept
    : HighWater(other.catalog_, other.budget_, other.mark()) {}

Budget::Amount HighWater::mark() const {
  return {.bytes = bytes_.load(), .objects = objects_.load()};
}

bool HighWater::covers(const Budget::Amount& taken) const {
  return taken.bytes <= bytes_.load() && taken.objects <= objects_.load();
}

bool HighWater::cover(const Budget::Amount& taken) {
  if (covers(taken)) return true;
  const MutexLock lock(mutex_);
  if (covers(taken)) return true;
  const Budget::Amount most = budget_.most_objects();
  const uint64_t bytes_step = std::min(kBytesStepMin, budget_.limits().size_bytes / kStepsMin);
  const Budget::Amount next{
      .bytes = std::max(bytes_.load(), ahead_of(taken.bytes, bytes_step, most.bytes)),
      .objects = std::max(objects_.load(), ahead_of(taken.objects, kObjectsStepMin, most.objects))};
  const auto stored = store(next);
  // Everybody who would cache something comes here: once is enough.
  if (!stored && !std::exchange(has_failed_, true))
    log::warning("cannot note how much is cached, so no more is: {}", stored.error().message());
  if (stored) has_failed_ = false;
  return stored.has_value();
}

void HighWater::tighten() {
  const MutexLock lock(mutex_);
  const uint64_t most = budget_.most_objects().bytes;
  const uint64_t before = bytes_.load();
  if (before <= most) return;
  // In this order, so that who takes some more is seen here, or waits in cover() for the end of it.
  bytes_ = most;
  bytes_ = std::max(most, std::min(before, budget_.taken().bytes));
  if (bytes_ == before) return;
  // When it fails, what is noted is at least as much, and whoever needs more tries again.
  if (const auto stored = store({.bytes = bytes_, .objects = objects_}); !stored)
    log::warning("cannot note how much is cached: {}", stored.error().message());
}

Result<void> HighWater::lower(const Budget::Amount& taken) {
  const MutexLock lock(mutex_);
  if (taken.bytes == bytes_.load() && taken.objects == objects_.load()) return {};
  return store(taken);
}

Result<void> HighWater::store(const Budget::Amount& mark) {
  TRY(put(catalog_, mark));
  TRY(catalog_.commit());
  bytes_ = mark.bytes;
  objects_ = mark.objects;
  return {};
}

}  // namespace larder::cache
