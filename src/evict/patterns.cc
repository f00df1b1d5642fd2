#include "evict/patterns.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <list>

#include "base/checksum.h"
#include "base/random.h"

namespace larder::evict {

namespace {

// Ranks 0 ... n-1, each with a probability like 1/(rank + 1).
class Zipf {
 public:
  explicit Zipf(uint32_t items) : sums_(items) {
    double sum = 0;
    for (uint32_t i = 0; i < items; ++i) sums_[i] = sum += 1.0 / (i + 1);
  }
  uint32_t next(Random& random) const {
    const double at = static_cast<double>(random.next() >> 11) * 0x1p-53 * sums_.back();
    const auto found = std::ranges::upper_bound(sums_, at);
    return static_cast<uint32_t>(
        std::min<size_t>(static_cast<size_t>(found - sums_.begin()), sums_.size() - 1));
  }

 private:
  std::vector<double> sums_;
};

// What the makers have to work with; a key beyond `items` is a new one.
struct Maker {
  explicit Maker(const PatternOptions& o)
      : options(o), items(std::max<uint32_t>(o.items, 100)), random(o.seed), zipf(items) {
    trace.distinct = items;
    trace.keys.reserve(o.requests);
  }
  void ask(uint32_t key) { trace.keys.push_back(key); }
  void ask(uint32_t key, uint64_t size) {
    ask(key);
    trace.sizes_bytes.push_back(size);
  }
  uint32_t new_key() { return trace.distinct++; }
  // Ranks lie scattered over the keys.
  uint32_t popular(uint64_t shift = 0) {
    return static_cast<uint32_t>((zipf.next(random) + shift) % items);
  }

  const PatternOptions& options;
  const uint32_t items;
  Random random;
  const Zipf zipf;
  Trace trace;
};

void make_zipf(Maker& m) {
  for (uint64_t i = 0; i < m.options.requests; ++i) m.ask(m.popular());
}
void make_scan(Maker& m) {
  m.trace.distinct = 0;
  for (uint64_t i = 0; i < m.options.requests; ++i) m.ask(m.new_key());
}
void make_loop(Maker& m) {
  for (uint64_t i = 0; i < m.options.requests; ++i) m.ask(static_cast<uint32_t>(i % m.items));
}
void make_shift(Maker& m) {
  for (uint64_t i = 0; i < m.options.requests; ++i)
    m.ask(m.popular(10 * i / m.options.requests * (m.items / 10)));
}
void make_recent(Maker& m) {
  std::vector<uint32_t> stack(m.items);  // the one asked for last at the end
  for (uint32_t i = 0; i < m.items; ++i) stack[i] = i;
  for (uint64_t i = 0; i < m.options.requests; ++i) {
    const auto at = stack.end() - 1 - m.popular();
    m.ask(*at);
    std::rotate(at, at + 1, stack.end());
  }
}
void make_zipf_scan(Maker& m) {
  const uint64_t period = uint64_t{4} * m.items;
  for (uint64_t i = 0; i < m.options.requests; ++i)
    m.ask(i % period < period - m.items / 2 ? m.popular() : m.new_key());
}
void make_zipf_loop(Maker& m) {
  m.trace.distinct = 2 * m.items;
  for (uint64_t i = 0; i < m.options.requests; ++i)
    m.ask(i % 2 == 0 ? m.popular() : static_cast<uint32_t>(m.items + i / 2 % m.items));
}
void make_sizes(Maker& m) {
  for (uint64_t i = 0; i < m.options.requests; ++i) {
    const uint32_t key = m.popular();
    m.ask(key, uint64_t{1024} << mix64(key) % 11);
  }
}
void make_big_scan(Maker& m) {
  for (uint64_t i = 0; i < m.options.requests; ++i) {
    if (i % 20 == 0)
      m.ask(m.new_key(), uint64_t{1} << 20);
    else
      m.ask(m.popular(), 16'384);
  }
}

struct Row {
  std::string_view name;
  void (*make)(Maker&);
};
constexpr Row kPatterns[] = {
    {"zipf", make_zipf},           {"scan", make_scan},     {"loop", make_loop},
    {"shift", make_shift},         {"recent", make_recent}, {"zipf-scan", make_zipf_scan},
    {"zipf-loop", make_zipf_loop}, {"sizes", make_sizes},   {"big-scan", make_big_scan},
};

}  // namespace

std::vector<std::string_view> pattern_names() {
  std::vector<std::string_view> names;
  for (const Row& row : kPatterns) names.push_back(row.name);
  return names;
}

Result<Trace> make_pattern(std::string_view name, const PatternOptions& options) {
  for (const Row& row : kPatterns) {
    if (row.name != name) continue;
    Maker maker(options);
    row.make(maker);
    return std::move(maker.trace);
  }
  return fail(Code::kInvalid, fmt::format("unknown pattern '{}' (accepted: {})", name,
                                          fmt::join(pattern_names(), ", ")));
}

}  // namespace larder::evict
