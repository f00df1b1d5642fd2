#include "base/metrics.h"

#include <algorithm>
#include <bit>

namespace larder {

size_t new_metric_shard() {
  static std::atomic<size_t> next{0};
  return next.fetch_add(1, std::memory_order_relaxed) % kMetricShards;
}

uint64_t Counter::value() const {
  uint64_t sum = 0;
  for (const Shard& shard : shards_) sum += shard.value.load(std::memory_order_relaxed);
  return sum;
}

size_t Histogram::bucket_of(uint64_t duration_ns) {
  if (duration_ns < kSubBuckets) return static_cast<size_t>(duration_ns);
  const int exponent = static_cast<int>(std::bit_width(duration_ns)) - 1;  // >= 2
  const uint64_t sub = (duration_ns >> (exponent - 2)) & (kSubBuckets - 1);
  const size_t bucket = static_cast<size_t>(exponent - 1) * kSubBuckets + sub;
  return std::min(bucket, kBuckets - 1);
}

Nanos Histogram::bucket_limit(size_t bucket) {
  if (bucket < kSubBuckets) return Nanos(static_cast<int64_t>(bucket));
  const size_t exponent = bucket / kSubBuckets + 1;
  const uint64_t sub = bucket % kSubBuckets;
  const uint64_t low = (kSubBuckets + sub) << (exponent - 2);
  return Nanos(static_cast<int64_t>(low + (1ULL << (exponent - 2)) - 1));
}

void Histogram::record(Nanos duration) {
  const uint64_t ns = duration.count() < 0 ? 0 : static_cast<uint64_t>(duration.count());
  Shard& shard = shards_[metric_shard() % shards_.size()];
  shard.counts[bucket_of(ns)].fetch_add(1, std::memory_order_relaxed);
  shard.sum_ns.fetch_add(ns, std::memory_order_relaxed);
}

std::array<uint64_t, Histogram::kBuckets> Histogram::buckets() const {
  std::array<uint64_t, kBuckets> sum{};
  for (const Shard& shard : shards_)
    for (size_t i = 0; i < kBuckets; ++i) sum[i] += shard.counts[i].load(std::memory_order_relaxed);
  return sum;
}

uint64_t Histogram::count() const {
  uint64_t sum = 0;
  for (const uint64_t n : buckets()) sum += n;
  return sum;
}

Nanos Histogram::sum() const {
  uint64_t sum_ns = 0;
  for (const Shard& shard : shards_) sum_ns += shard.sum_ns.load(std::memory_order_relaxed);
  return Nanos(static_cast<int64_t>(sum_ns));
}

Nanos Histogram::quantile(double q) const {
  const auto counts = buckets();
  uint64_t total = 0;
  for (const uint64_t n : counts) total += n;
  if (total == 0) return Nanos(0);
  const auto wanted = static_cast<uint64_t>(q * static_cast<double>(total) + 0.5);
  uint64_t seen = 0;
  for (size_t i = 0; i < kBuckets; ++i) {
    seen += counts[i];
    if (seen >= std::max<uint64_t>(wanted, 1)) return bucket_limit(i);
  }
  return bucket_limit(kBuckets - 1);
}

const Registry::Entry* Registry::find(const std::string& name, const Labels& labels,
                                      Entry::Kind kind) const {
  for (const Entry& entry : entries_)
    if (entry.kind == kind && entry.name == name && entry.labels == labels) return &entry;
  return nullptr;
}

Counter& Registry::counter(const std::string& name, const std::string& help, Labels labels) {
  MutexLock lock(mutex_);
  if (const Entry* known = find(name, labels, Entry::Kind::kCounter))
    return const_cast<Counter&>(*known->counter);
  Counter& counter = counters_.emplace_back();
  entries_.push_back(
      {Entry::Kind::kCounter, name, help, std::move(labels), &counter, nullptr, nullptr, nullptr});
  return counter;
}

Gauge& Registry::gauge(const std::string& name, const std::string& help, Labels labels) {
  MutexLock lock(mutex_);
  if (const Entry* known = find(name, labels, Entry::Kind::kGauge))
    return const_cast<Gauge&>(*known->gauge);
  Gauge& gauge = gauges_.emplace_back();
  entries_.push_back(
      {Entry::Kind::kGauge, name, help, std::move(labels), nullptr, &gauge, nullptr, nullptr});
  return gauge;
}

Histogram& Registry::histogram(const std::string& name, const std::string& help, Labels labels) {
  MutexLock lock(mutex_);
  if (const Entry* known = find(name, labels, Entry::Kind::kHistogram))
    return const_cast<Histogram&>(*known->histogram);
  Histogram& histogram = histograms_.emplace_back();
  entries_.push_back({Entry::Kind::kHistogram, name, help, std::move(labels), nullptr, nullptr,
                      &histogram, nullptr});
  return histogram;
}

void Registry::gauge_callback(const std::string& name, const std::string& help,
                              std::function<int64_t()> read, Labels labels) {
  MutexLock lock(mutex_);
  entries_.push_back({Entry::Kind::kCallback, name, help, std::move(labels), nullptr, nullptr,
                      nullptr, std::move(read)});
}

std::vector<Registry::Entry> Registry::entries() const {
  MutexLock lock(mutex_);
  return {entries_.begin(), entries_.end()};
}

}  // namespace larder
