#include "cache/budget.h"

#include <algorithm>

#include "base/check.h"
#include "base/log.h"

namespace larder::cache {
namespace {

constexpr Nanos kSampleAgeMax = std::chrono::seconds(1);

// a - b, or 0.
uint64_t less(uint64_t a, uint64_t b) {
  return a > b ? a - b : 0;
}

// a + b, or the most there is: without a limit, what is expected has none either.
uint64_t more(uint64_t a, uint64_t b) {
  return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

uint64_t sum_of(const Overhead& overhead) {
  return overhead.journal_bytes + overhead.metadata_bytes + overhead.headroom_bytes;
}

// What of a limit is left when a share of it is kept free.
uint64_t without_spare(uint64_t limit, uint32_t spare_per_mille) {
  return limit - limit / 1000 * spare_per_mille;
}

}  // namespace

Budget::Budget(const Limits& limits, io::Disk& disk, std::function<Overhead()> overhead,
               Registry& registry, const Clock& clock)
    : limits_(limits), disk_(disk), overhead_(std::move(overhead)), clock_(clock) {
  const auto show = [&](const char* name, const char* help, auto read) {
    registry.gauge_callback(name, help, [read] { return static_cast<int64_t>(read()); });
  };
  show("larder_cache_used_bytes", "Bytes of everything in the cache directory, as accounted.",
       [this] { return used_bytes(); });
  show("larder_cache_expected_bytes",
       "Of these, what earlier runs may have left and nobody has counted yet.", [this] {
         const MutexLock lock(mutex_);
         return std::min<uint64_t>(expected_.bytes, INT64_MAX);
       });
  show("larder_cache_limit_bytes", "The limit set by size=.",
       [this] { return std::min<uint64_t>(limits_.size_bytes, INT64_MAX); });
  show("larder_cache_object_bytes", "Bytes of all objects on the cache disk.",
       [this] { return object_bytes(); });
  show("larder_cache_journal_bytes", "Bytes of the journal's files.",
       [this] { return overhead_().journal_bytes; });
  show("larder_cache_metadata_bytes", "Bytes of directories and small files of the cache.",
       [this] { return overhead_().metadata_bytes; });
  show("larder_cache_objects_limit", "The limit set by inodes=; 0: none.",
       [this] { return limits_.objects == UINT64_MAX ? 0 : limits_.objects; });
  show("larder_cache_min_free_bytes", "What min_free= keeps free of the cache disk.",
       [this] { return limits_.min_free_bytes; });
}

bool Budget::leaves_free(uint64_t bytes) const {
  return limits_.min_free_bytes == 0 || less(free_bytes_, bytes) >= limits_.min_free_bytes;
}

bool Budget::fits(const Amount& wanted) const {
  const uint64_t bytes = more(object_bytes_ + sum_of(overhead_()) + wanted.bytes, expected_.bytes);
  return bytes <= limits_.size_bytes &&
         more(objects_ + wanted.objects, expected_.objects) <= limits_.objects;
}

bool Budget::take(uint64_t bytes, uint64_t objects) {
  for (bool is_fresh = limits_.min_free_bytes == 0;; is_fresh = true) {
    {
      const MutexLock lock(mutex_);
      if (!fits({bytes, objects})) return false;
      const bool is_known =
          is_fresh || (sampled_at_ && clock_.monotonic() - *sampled_at_ < kSampleAgeMax);
      if (is_known && leaves_free(bytes)) {
        object_bytes_ += bytes;
        objects_ += objects;
        pending_bytes_ += bytes;
        free_bytes_ = less(free_bytes_, bytes);
        return true;
      }
      if (is_fresh) return false;
    }
    sample();
  }
}

void Budget::sample() {
  const auto space = disk_.space();
  const MutexLock lock(mutex_);
  if (!space)
    log::warning("how much of the cache disk is free is not known: {}", space.error().message());
  // Nobody is refused for want of an answer: a disk that is full says so itself.
  free_bytes_ = space ? less(space->free_bytes, pending_bytes_) : UINT64_MAX;
  sampled_at_ = clock_.monotonic();
}

void Budget::settled(uint64_t bytes) {
  const MutexLock lock(mutex_);
  CHECK(bytes <= pending_bytes_);
  pending_bytes_ -= bytes;
}

void Budget::adopt(uint64_t bytes, uint64_t objects) {
  const MutexLock lock(mutex_);
  object_bytes_ += bytes;
  objects_ += objects;
}

void Budget::expect(const Amount& amount) {
  const MutexLock lock(mutex_);
  expected_ = amount;
}

void Budget::adopt_expected(uint64_t bytes, uint64_t objects) {
  const MutexLock lock(mutex_);
  object_bytes_ += bytes;
  objects_ += objects;
  expected_ = {.bytes = less(expected_.bytes, bytes), .objects = less(expected_.objects, objects)};
}

void Budget::end_expectation() {
  const MutexLock lock(mutex_);
  expected_ = {};
}

bool Budget::expects_more() const {
  const MutexLock lock(mutex_);
  return !expected_.is_zero();
}

Budget::Amount Budget::taken() const {
  const MutexLock lock(mutex_);
  return {.bytes = more(object_bytes_, expected_.bytes),
          .objects = more(objects_, expected_.objects)};
}

Budget::Amount Budget::most_objects() const {
  return {.bytes = less(limits_.size_bytes, sum_of(overhead_())), .objects = limits_.objects};
}

void Budget::give_back(uint64_t bytes, uint64_t objects) {
  const MutexLock lock(mutex_);
  CHECK(bytes <= object_bytes_ && objects <= objects_);
  object_bytes_ -= bytes;
  objects_ -= objects;
}

void Budget::correct(uint64_t before_bytes, uint64_t after_bytes) {
  const MutexLock lock(mutex_);
  CHECK(before_bytes <= object_bytes_);
  object_bytes_ += after_bytes - before_bytes;
}

Budget::Amount Budget::excess(const Amount& wanted, uint32_t spare_per_mille) {
  if (limits_.min_free_bytes != 0) sample();
  return excess_by_last_sample(wanted, spare_per_mille);
}

bool Budget::is_pressed(uint32_t spare_per_mille) const {
  return !excess_by_last_sample({}, spare_per_mille).is_zero();
}

Budget::Amount Budget::excess_by_last_sample(const Amount& wanted, uint32_t spare_per_mille) const {
  const uint64_t overhead_bytes = sum_of(overhead_());
  const MutexLock lock(mutex_);
  const Amount expected = spare_per_mille == 0 ? expected_ : Amount{};
  Amount over;
  const uint64_t size = without_spare(limits_.size_bytes, spare_per_mille);
  over.bytes = less(more(object_bytes_ + overhead_bytes + wanted.bytes, expected.bytes), size);
  if (limits_.min_free_bytes != 0 && sampled_at_) {
    const uint64_t keep = limits_.min_free_bytes + limits_.min_free_bytes / 1000 * spare_per_mille;
    over.bytes = std::max(over.bytes, less(keep + wanted.bytes, free_bytes_));
  }
  // More than there is cannot go.
  over.bytes = std::min(over.bytes, object_bytes_);
  over.objects = std::min(objects_, less(more(objects_ + wanted.objects, expected.objects),
                                         without_spare(limits_.objects, spare_per_mille)));
  return over;
}

bool Budget::could_fit(uint64_t bytes) const {
  const uint64_t overhead_bytes = sum_of(overhead_());
  const MutexLock lock(mutex_);
  return more(1, expected_.objects) <= limits_.objects &&
         more(bytes + overhead_bytes, expected_.bytes) <= limits_.size_bytes;
}

uint64_t Budget::object_bytes() const {
  const MutexLock lock(mutex_);
  return object_bytes_;
}

uint64_t Budget::used_bytes() const {
  const Overhead overhead = overhead_();
  return more(taken().bytes, overhead.journal_bytes + overhead.metadata_bytes);
}

}  // namespace larder::cache
