// Metrics: counters, gauges and latency histograms that cost a few nanoseconds on the hot path.
//
// A module asks the Registry for its metrics once, at construction, and keeps the references;
// control/ walks the Registry to show them.  Updates are relaxed atomics on per-thread shards: no
// mutex, no shared cache line.  A reading is the sum of the shards, so it is exact when nothing is
// running and close while something is.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/mutex.h"

namespace larder {

inline constexpr size_t kMetricShards = 8;
size_t new_metric_shard();
// The calling thread's shard.
inline size_t metric_shard() {
  constexpr size_t kNone = kMetricShards;
  constinit thread_local size_t shard = kNone;
  if (shard == kNone) [[unlikely]]
    shard = new_metric_shard();
  return shard;
}

// Only grows.
class Counter {
 public:
  void add(uint64_t n = 1) {
    shards_[metric_shard()].value.fetch_add(n, std::memory_order_relaxed);
  }
  uint64_t value() const;

 private:
  struct alignas(64) Shard {
    std::atomic<uint64_t> value{0};
  };
  std::array<Shard, kMetricShards> shards_;
};

// A level: goes up and down.
class Gauge {
 public:
  void add(int64_t n = 1) { value_.fetch_add(n, std::memory_order_relaxed); }
  void sub(int64_t n = 1) { value_.fetch_sub(n, std::memory_order_relaxed); }
  void set(int64_t n) { value_.store(n, std::memory_order_relaxed); }
  int64_t value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<int64_t> value_{0};
};

// Holds a gauge up by n for as long as it lives.
class GaugeHold {
 public:
  explicit GaugeHold(Gauge& gauge, int64_t n = 1) : gauge_(gauge), n_(n) { gauge_.add(n_); }
  ~GaugeHold() { gauge_.sub(n_); }
  GaugeHold(const GaugeHold&) = delete;
  GaugeHold& operator=(const GaugeHold&) = delete;

 private:
  Gauge& gauge_;
  int64_t n_;
};

// Durations from 1 ns to about 10 minutes in log-linear buckets (4 to each power of two), so a
// quantile is at most 12.5 % off.
class Histogram {
 public:
  static constexpr size_t kSubBuckets = 4;
  static constexpr size_t kBuckets = 40 * kSubBuckets;

  void record(Nanos duration);
  uint64_t count() const;
  Nanos sum() const;
  // The smallest duration d such that a share q (0..1) of the recorded ones is at most d; 0 when
  // empty.
  Nanos quantile(double q) const;
  // Counts by bucket, and the upper bound of bucket i.
  std::array<uint64_t, kBuckets> buckets() const;
  static Nanos bucket_limit(size_t bucket);

 private:
  static size_t bucket_of(uint64_t duration_ns);
  struct alignas(64) Shard {
    std::array<std::atomic<uint64_t>, kBuckets> counts{};
    std::atomic<uint64_t> sum_ns{0};
  };
  std::array<Shard, 4> shards_;
};

// Records the time from construction to destruction.
class Timed {
 public:
  Timed(Histogram& histogram, const Clock& clock)
      : histogram_(histogram), clock_(clock), start_(clock.monotonic()) {}
  ~Timed() {
    if (!cancelled_) histogram_.record(clock_.monotonic() - start_);
  }
  // Records nothing.
  void cancel() { cancelled_ = true; }
  Timed(const Timed&) = delete;
  Timed& operator=(const Timed&) = delete;

 private:
  Histogram& histogram_;
  const Clock& clock_;
  Nanos start_;
  bool cancelled_ = false;
};

using Labels = std::vector<std::pair<std::string, std::string>>;

// Owns all metrics of one mount.  Thread-safe.  References stay valid as long as the Registry.
// Names follow Prometheus: larder_<what>_<unit>, counters end in _total.  The same name may be
// asked for with several label sets; asking twice for the same name and labels gives the same
// metric.
class Registry {
 public:
  Counter& counter(const std::string& name, const std::string& help, Labels labels = {});
  Gauge& gauge(const std::string& name, const std::string& help, Labels labels = {});
  Histogram& histogram(const std::string& name, const std::string& help, Labels labels = {});
  // A gauge whose value is asked for when it is shown; `read` must be thread-safe and outlive all
  // shows.
  void gauge_callback(const std::string& name, const std::string& help,
                      std::function<int64_t()> read, Labels labels = {});

  struct Entry {
    enum class Kind { kCounter, kGauge, kHistogram, kCallback };
    Kind kind;
    std::string name;
    std::string help;
    Labels labels;
    const Counter* counter = nullptr;
    const Gauge* gauge = nullptr;
    const Histogram* histogram = nullptr;
    std::function<int64_t()> read;
  };
  // A snapshot of what is registered, in order of registration.
  std::vector<Entry> entries() const;

 private:
  const Entry* find(const std::string& name, const Labels& labels, Entry::Kind kind) const
      REQUIRES(mutex_);

  mutable Mutex mutex_;
  std::deque<Counter> counters_ GUARDED_BY(mutex_);
  std::deque<Gauge> gauges_ GUARDED_BY(mutex_);
  std::deque<Histogram> histograms_ GUARDED_BY(mutex_);
  std::deque<Entry> entries_ GUARDED_BY(mutex_);
};

}  // namespace larder
