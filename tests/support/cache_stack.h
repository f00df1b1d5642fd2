// CacheStack: everything below fs/ over a disk and a source, as app/ wires it, for tests.
//
// Blocks are small, and nothing is claimed but by claim(), so that a test decides what is durable.
// crash() takes the stack down without closing it cleanly; the disk and the source stay.
#pragma once

#include <chrono>
#include <future>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/metrics.h"
#include "cache/claims.h"
#include "cache/environment.h"
#include "catalog/catalog.h"
#include "io/disk.h"
#include "io/reactor.h"
#include "journal/store.h"
#include "object/objects.h"

namespace larder::testing {

struct StackOptions {
  uint64_t limit_bytes = 1 << 30;  // of objects: the journal does not count here
  uint64_t memory_bytes = 0;       // of the memory tier
  uint8_t block_shift = 12;
  uint64_t fetch_bytes_max = 4096;  // blocks are fetched one by one
  uint64_t evict_whole_bytes_max = cache::Options{}.evict_whole_bytes_max;
  uint32_t reactors = 1;
  uint64_t descriptors = 1000;
  size_t directories_max = 64;
  size_t mapped_objects_max = cache::MappedObjects::kMax;
  uint64_t segment_bytes = 64 << 10;
  uint64_t checkpoint_after_bytes = 256 << 10;
};

namespace detail {

template <class T>
io::Task<void> deliver(io::Task<T> task, std::shared_ptr<std::promise<T>> to) {
  T value = co_await std::move(task);
  to->set_value(std::move(value));
}
inline io::Task<void> deliver_end(io::Task<void> task, std::shared_ptr<std::promise<void>> to) {
  co_await std::move(task);
  to->set_value();
}

}  // namespace detail

// Runs the task on the reactor.
template <class T>
std::future<T> start_on(io::Reactor& reactor, io::Task<T> task) {
  auto promise = std::make_shared<std::promise<T>>();
  std::future<T> future = promise->get_future();
  if constexpr (std::is_void_v<T>)
    reactor.spawn(detail::deliver_end(std::move(task), std::move(promise)));
  else
    reactor.spawn(detail::deliver<T>(std::move(task), std::move(promise)));
  return future;
}

// The value of a counter or gauge; fails the test when there is none.
int64_t metric(const Registry& registry, const std::string& name, const Labels& labels = {});

class CacheStack {
 public:
  // The disk must be usable; it and the clock outlive the stack.
  CacheStack(io::Disk& disk, const Clock& clock, const StackOptions& options = {});
  // As a crash would leave it, unless closed before.
  ~CacheStack();
  CacheStack(const CacheStack&) = delete;
  CacheStack& operator=(const CacheStack&) = delete;

  io::Reactor& reactor(size_t n = 0) { return *reactors_[n]; }
  std::vector<io::Reactor*> reactors() const;
  // Until no fetch is under way and what was posted has run.
  void settle();
  // Makes what is cached now durable.
  void claim() { claims->run_once(); }
  // Stops the coroutines and the claims.  Nodes and files may be let go of afterwards.
  void stop();
  // After stop(), and when nothing refers to the stack any more.
  void close();

  int64_t metric(const std::string& name, const Labels& labels = {}) const {
    return testing::metric(registry, name, labels);
  }

  const Clock& clock;
  Registry registry;
  std::unique_ptr<DescriptorLimit> descriptors;
  std::unique_ptr<cache::OpenFiles> open_files;
  std::unique_ptr<journal::Store> store;
  std::unique_ptr<catalog::Catalog> catalog;
  std::unique_ptr<object::Objects> objects;
  buffer::Pool pool{64 << 20};
  std::unique_ptr<memory::BlockCache> memory;
  std::unique_ptr<cache::Budget> budget;
  std::unique_ptr<cache::Residents> residents;
  std::unique_ptr<cache::MappedObjects> mapped;
  cache::Metrics metrics{registry};
  std::unique_ptr<cache::Claims> claims;
  io::AsyncSemaphore fetch_bytes{16 << 20};
  cache::ChangeClock changes;
  std::unique_ptr<cache::Environment> environment;

 private:
  std::vector<std::unique_ptr<io::Reactor>> reactors_;
  bool stopped_ = false;
};

// What the slices hold, which must all be in buffers.
std::string text_of(const std::vector<cache::Slice>& slices);
// Repeatable printable bytes without long runs.
std::string random_text(uint64_t seed, size_t size_bytes);
// A buffer of the pool with these bytes.
buffer::BufferRef buffer_of(buffer::Pool& pool, const std::string& bytes);
// Seeds of a randomised test: LARDER_TEST_SEED alone when it is set, else 1 to `count` or to
// LARDER_TEST_SEEDS.
std::vector<uint64_t> test_seeds(uint64_t count);

}  // namespace larder::testing
