// The traces `larder simulate` reads, and what it makes of them.
#include <algorithm>
#include <array>

#include "app/trace_parser.h"
#include "base/check.h"
#include "evict/registry.h"
#include "fuzz/target.h"

namespace larder::fuzz {
namespace {

using app::TraceParser;

Result<evict::Trace> parse(std::string_view text, size_t piece_bytes) {
  TraceParser parser("trace");
  for (; !text.empty(); text.remove_prefix(std::min(piece_bytes, text.size())))
    TRY(parser.add(text.substr(0, piece_bytes)));
  return parser.finish();
}

void check_same(const Result<evict::Trace>& one, const Result<evict::Trace>& other) {
  CHECK(one.has_value() == other.has_value());
  if (!one) {
    CHECK(one.error().detail() == other.error().detail());
    return;
  }
  CHECK(one->keys == other->keys && one->distinct == other->distinct);
  CHECK(one->sizes_bytes == other->sizes_bytes && one->times_s == other->times_s);
}

void check_sound(const evict::Trace& trace) {
  CHECK(!trace.keys.empty());
  CHECK(*std::ranges::max_element(trace.keys) + 1 == trace.distinct);
  CHECK(trace.sizes_bytes.empty() || trace.sizes_bytes.size() == trace.keys.size());
  CHECK(trace.times_s.empty() || trace.times_s.size() == trace.keys.size());
  CHECK(std::ranges::is_sorted(trace.times_s));
}

void check_replay(const evict::Trace& trace, uint64_t capacity, uint32_t ttl_s) {
  const evict::HitCounts best = evict::optimum(trace, capacity);
  for (const std::string_view name : evict::policy_names()) {
    const auto policy = evict::make_policy(name);
    CHECK(policy);
    const evict::HitCounts counts = evict::replay(trace, **policy, capacity, ttl_s);
    CHECK(counts.requests == trace.keys.size());
    CHECK(counts.hits <= counts.requests - std::min<uint64_t>(counts.requests, 1));
    CHECK(counts.hit_bytes <= counts.bytes);
    CHECK(counts.bytes == best.bytes);
    // With sizes the bound is for items whose size does not change.
    if (trace.sizes_bytes.empty()) CHECK(counts.hits <= best.hits);
  }
}

}  // namespace

void run(std::string_view input) {
  const auto trace = parse(input, input.size());
  check_same(trace, parse(input, 7));
  if (!trace) {
    CHECK(trace.error().detail().find('\n') == std::string::npos);
    return;
  }
  check_sound(*trace);
  // One of them, as each takes a while.
  constexpr std::array kCapacities = {uint64_t{1}, uint64_t{5}, uint64_t{1} << 20, UINT64_MAX >> 1};
  check_replay(*trace, kCapacities[input.size() % kCapacities.size()],
               static_cast<uint32_t>(input.size() % 3));
}

std::vector<std::string> seeds() {
  return {"b\na\n* a mark\n# a comment\n\n  b \nc",
          "a\nb 20\r\na 30 5 /what/it is\nc\t40\t6\n",
          "# larder record: files opened of /mnt\n3 102400 1700000000 a%20b\n6 0 1700000000 -\n"
          "3 102400 1700000009 a%20b\n# 3 accesses, 0 dropped\n",
          "5:0 131072 7 f\n5:1 131072 7 f\n5:2 37856 8 f\n5:0 131072 9 f\n",
          "a 1125899906842624 4294967295\nb 1 4294967295\na 0 4294967295\n",
          "a 1 9\na 1 8\n",
          "a many\n"};
}

}  // namespace larder::fuzz
