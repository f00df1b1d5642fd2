#include "support/cache_stack.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <thread>

#include "base/check.h"
#include "base/random.h"
#include "evict/registry.h"

namespace larder::testing {

int64_t metric(const Registry& registry, const std::string& name, const Labels& labels) {
  for (const Registry::Entry& entry : registry.entries()) {
    if (entry.name != name || entry.labels != labels) continue;
    if (entry.counter != nullptr) return static_cast<int64_t>(entry.counter->value());
    if (entry.gauge != nullptr) return entry.gauge->value();
    if (entry.read) return entry.read();
  }
  ADD_FAILURE() << "no metric " << name;
  return -1;
}

CacheStack::CacheStack(io::Disk& disk, const Clock& clock_in, const StackOptions& options)
    : clock(clock_in) {
  CHECK(disk.make_directory("journal").has_value());
  journal::StoreOptions store_options;
  store_options.segment_bytes = options.segment_bytes;
  store_options.checkpoint_after_bytes = options.checkpoint_after_bytes;
  auto opened = journal::Store::open(disk, "journal", store_options, registry, clock);
  CHECK_MSG(opened.has_value(), opened ? "" : opened.error().message());
  store = std::move(*opened);
  catalog = std::move(*catalog::Catalog::open(*store));
  descriptors = std::make_unique<DescriptorLimit>(options.descriptors, registry);
  open_files = std::make_unique<cache::OpenFiles>(*descriptors, registry);
  objects = std::move(*object::Objects::open(disk, descriptors.get()));
  memory = std::make_unique<memory::BlockCache>(
      memory::BlockCacheOptions{options.memory_bytes, 1, "lru"}, registry);
  budget = std::make_unique<cache::Budget>(
      cache::Limits{.size_bytes = options.limit_bytes}, disk, [] { return cache::Overhead{}; },
      registry, clock);
  residents = std::make_unique<cache::Residents>(
      [] { return std::move(*evict::make_policy("lru")); }, *budget, Nanos(0), registry, clock);
  mapped = std::make_unique<cache::MappedObjects>(*catalog, *objects, registry, clock,
                                                  options.mapped_objects_max);
  residents->set_evict([](NodeId, uint64_t) { return false; });
  claims = std::make_unique<cache::Claims>(*catalog, *objects, metrics, std::chrono::hours(24));
  // What the janitor does, at once.
  claims->set_committed([this] {
    while (store->is_maintenance_due())
      if (const auto more = store->maintain(); !more || !*more) return;
  });
  for (uint32_t i = 0; i < options.reactors; ++i) {
    io::ReactorOptions reactor;
    reactor.engine = io::EngineKind::kThreads;
    reactor.threads_max = 2;
    reactors_.push_back(std::move(*io::Reactor::start(reactor, registry)));
  }
  cache::Options cache_options;
  cache_options.block_shift = options.block_shift;
  cache_options.fetch_bytes_max = options.fetch_bytes_max;
  cache_options.is_after_crash = !store->recovery().clean;
  cache_options.evict_whole_bytes_max = options.evict_whole_bytes_max;
  environment = std::make_unique<cache::Environment>(
      cache::Environment{*catalog, *objects, *memory, pool, *residents, *open_files, *mapped,
                         *claims, metrics, clock, fetch_bytes, changes, cache_options});
}

CacheStack::~CacheStack() {
  stop();
}

std::vector<io::Reactor*> CacheStack::reactors() const {
  std::vector<io::Reactor*> all;
  for (const auto& reactor : reactors_) all.push_back(reactor.get());
  return all;
}

void CacheStack::settle() {
  // A fetch that has been spawned but not begun is in front of the barrier; one that runs shows in
  // the gauge.
  for (;;) {
    for (const auto& reactor : reactors_) {
      std::promise<void> passed;
      reactor->post([&passed] { passed.set_value(); });
      passed.get_future().wait();
    }
    if (metrics.fetches_in_flight.value() == 0) return;
    std::this_thread::yield();
  }
}

void CacheStack::stop() {
  if (std::exchange(stopped_, true)) return;
  for (const auto& reactor : reactors_) reactor->stop();
  claims->stop();
}

void CacheStack::close() {
  const auto closed = store->close();
  EXPECT_TRUE(closed) << closed.error().message();
}

std::string text_of(const std::vector<cache::Slice>& slices) {
  std::string text;
  for (const cache::Slice& slice : slices) {
    EXPECT_TRUE(slice.buffer);
    const auto bytes = slice.buffer.bytes().subspan(slice.buffer_offset, slice.length);
    text.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }
  return text;
}

std::string random_text(uint64_t seed, size_t size_bytes) {
  Random random(seed);
  std::string text(size_bytes, '\0');
  for (char& byte : text) byte = static_cast<char>('0' + random.below(75));
  return text;
}

buffer::BufferRef buffer_of(buffer::Pool& pool, const std::string& bytes) {
  buffer::BufferRef buffer = pool.allocate(std::max<size_t>(1, bytes.size()));
  CHECK(buffer);
  std::memcpy(buffer.bytes().data(), bytes.data(), bytes.size());
  buffer.set_size(bytes.size());
  return buffer;
}

std::vector<uint64_t> test_seeds(uint64_t count) {
  if (const char* text = std::getenv("LARDER_TEST_SEED")) return {std::strtoull(text, nullptr, 10)};
  if (const char* text = std::getenv("LARDER_TEST_SEEDS")) count = std::strtoull(text, nullptr, 10);
  std::vector<uint64_t> all;
  for (uint64_t seed = 1; seed <= count; ++seed) all.push_back(seed);
  return all;
}

}  // namespace larder::testing
