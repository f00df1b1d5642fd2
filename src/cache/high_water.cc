#include "cache/high_water.h"

#include <algorithm>
#include <utility>

#include "base/log.h"

namespace larder::cache {
namespace {

constexpr const char* kBytesRecord = "object-bytes-max";
constexpr const char* kObjectsRecord = "objects-max";
constexpr uint64_t kBytesStep = 64 << 20;
constexpr uint64_t kObjectsStep = 1024;

}  // namespace

Result<HighWater> HighWater::load(catalog::Catalog& catalog, const Budget::Amount& otherwise) {
  TRY_ASSIGN(const auto bytes, catalog.number(kBytesRecord));
  TRY_ASSIGN(const auto objects, catalog.number(kObjectsRecord));
  if (!bytes || !objects) return HighWater(catalog, otherwise);
  return HighWater(catalog, {.bytes = *bytes, .objects = *objects});
}

HighWater::HighWater(catalog::Catalog& catalog, const Budget::Amount& mark)
    : catalog_(catalog), bytes_(mark.bytes), objects_(mark.objects) {}

HighWater::HighWater(HighWater&& other) noexcept : HighWater(other.catalog_, other.mark()) {}

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
  const Budget::Amount next{
      .bytes = std::max(bytes_.load(), taken.bytes + std::max(kBytesStep, taken.bytes / 8)),
      .objects =
          std::max(objects_.load(), taken.objects + std::max(kObjectsStep, taken.objects / 8))};
  const auto stored = store(next);
  // Everybody who would cache something comes here: once is enough.
  if (!stored && !std::exchange(has_failed_, true))
    log::warning("cannot note how much is cached, so no more is: {}", stored.error().message());
  if (stored) has_failed_ = false;
  return stored.has_value();
}

Result<void> HighWater::lower(const Budget::Amount& taken) {
  const MutexLock lock(mutex_);
  if (taken.bytes == bytes_.load() && taken.objects == objects_.load()) return {};
  return store(taken);
}

Result<void> HighWater::store(const Budget::Amount& mark) {
  catalog::Batch batch;
  batch.put_number(kBytesRecord, mark.bytes);
  batch.put_number(kObjectsRecord, mark.objects);
  TRY(catalog_.apply(batch));
  TRY(catalog_.commit());
  bytes_ = mark.bytes;
  objects_ = mark.objects;
  return {};
}

}  // namespace larder::cache
