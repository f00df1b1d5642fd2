// Memory comes from the system in slabs of one kSizeMax; a slab serves one size class at a time and
// belongs to one shard, so that allocating and freeing take one lock that few threads share.
//
// Invariants
//  - Each header is in its slab's free list (refs == 0) or in use (refs > 0).
//  - Each slab with a free buffer is in its shard's list of its class; a full slab is in none.
//  - A shard keeps at most one wholly free slab per class; further ones are spare (State::spare),
//  for any
//    shard and class, or go back to the system while more than limit_bytes is mapped.
//  - in_use_bytes is the sum of the class sizes of the buffers in use, and never more than
//  limit_bytes.
#include "buffer/pool.h"

#include "base/sanitizer.h"
#if LARDER_WITH_ASAN
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(address, size) ((void)(address), (void)(size))
#define ASAN_UNPOISON_MEMORY_REGION(address, size) ((void)(address), (void)(size))
#endif
#include <sys/mman.h>

#include <array>
#include <atomic>
#include <bit>

#include "base/check.h"
#include "base/metrics.h"
#include "base/mutex.h"

namespace larder::buffer {

namespace {

constexpr size_t kSlabBytes = Pool::kSizeMax;
constexpr size_t kClasses = std::countr_zero(Pool::kSizeMax) - std::countr_zero(Pool::kSizeMin) + 1;
constexpr size_t kShards = 4;

constexpr size_t class_of(size_t size_bytes) {
  const size_t rounded = std::bit_ceil(std::max(size_bytes, Pool::kSizeMin));
  return std::countr_zero(rounded) - std::countr_zero(Pool::kSizeMin);
}
constexpr size_t class_bytes(size_t size_class) {
  return Pool::kSizeMin << size_class;
}

static_assert(class_of(1) == 0 && class_of(4097) == 1 && class_of(Pool::kSizeMax) == kClasses - 1);

}  // namespace

struct Slab;
class Shard;

// A line of its own: the counters of neighbours are bumped by different threads.
struct alignas(64) Header {
  std::atomic<uint32_t> refs{0};
  uint32_t size_bytes = 0;
  Slab* slab = nullptr;
  std::byte* data = nullptr;
  Header* next_free = nullptr;
};

// Guarded by the mutex of `shard`; memory, shard and size_class do not change while a buffer is in
// use.
struct Slab {
  std::byte* memory = nullptr;
  Shard* shard = nullptr;
  size_t size_class = 0;
  size_t in_use = 0;  // buffers
  Header* free = nullptr;
  std::unique_ptr<Header[]> headers;
  Slab* next = nullptr;  // in the shard's list, or among the spare
  Slab* previous = nullptr;

  size_t capacity() const { return kSlabBytes / class_bytes(size_class); }
};

class alignas(64) Shard {
 public:
  void set_pool(Pool::State* pool) { pool_ = pool; }
  // `may_grow`: takes a new slab when none of the class has a free buffer; null otherwise.
  Header* allocate(size_t size_class, bool may_grow);
  void release(Header* header);
  // Wholly free slabs, chained by `next`, no longer the shard's.
  Slab* take_free_slabs();

 private:
  void link(Slab* slab) REQUIRES(mutex_);
  void unlink(Slab* slab) REQUIRES(mutex_);

  Pool::State* pool_ = nullptr;
  Mutex mutex_;
  std::array<Slab*, kClasses> partial_ GUARDED_BY(mutex_) = {};  // slabs with a free buffer
  std::array<size_t, kClasses> free_slabs_
      GUARDED_BY(mutex_) = {};  // of those, wholly free: 0 or 1
};

struct Pool::State {
  explicit State(size_t limit) : limit_bytes(limit) {
    for (Shard& shard : shards) shard.set_pool(this);
  }

  bool reserve(size_t bytes) {
    size_t used = in_use_bytes.load(std::memory_order_relaxed);
    do {
      if (bytes > limit_bytes || used > limit_bytes - bytes) return false;
    } while (!in_use_bytes.compare_exchange_weak(used, used + bytes, std::memory_order_relaxed));
    return true;
  }
  Header* find_buffer(size_t size_class);
  Slab* take_slab();
  void give_slab(Slab* slab);
  void unmap(Slab* slab);

  const size_t limit_bytes;
  std::atomic<size_t> in_use_bytes{0};
  std::atomic<size_t> mapped_bytes{0};
  std::array<Shard, kShards> shards;
  Mutex mutex;  // taken below a shard's
  Slab* spare GUARDED_BY(mutex) = nullptr;
};

// From the thread's own shard; before more than limit_bytes is mapped, from any that has one.
Header* Pool::State::find_buffer(size_t size_class) {
  const size_t own = metric_shard() % kShards;
  if (mapped_bytes.load(std::memory_order_relaxed) + kSlabBytes > limit_bytes) {
    for (size_t i = 0; i < kShards; ++i) {
      Header* header = shards[(own + i) % kShards].allocate(size_class, false);
      if (header != nullptr) return header;
    }
  }
  return shards[own].allocate(size_class, true);
}

Slab* Pool::State::take_slab() {
  {
    MutexLock lock(mutex);
    if (spare != nullptr) {
      Slab* slab = spare;
      spare = slab->next;
      slab->next = nullptr;
      return slab;
    }
  }
  void* memory =
      mmap(nullptr, kSlabBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return nullptr;
  mapped_bytes.fetch_add(kSlabBytes, std::memory_order_relaxed);
  auto slab = std::make_unique<Slab>();
  slab->memory = static_cast<std::byte*>(memory);
  return slab.release();
}

void Pool::State::give_slab(Slab* slab) {
  if (mapped_bytes.load(std::memory_order_relaxed) > limit_bytes) return unmap(slab);
  MutexLock lock(mutex);
  slab->next = spare;
  spare = slab;
}

void Pool::State::unmap(Slab* slab) {
  ASAN_UNPOISON_MEMORY_REGION(slab->memory, kSlabBytes);
  CHECK(munmap(slab->memory, kSlabBytes) == 0);
  mapped_bytes.fetch_sub(kSlabBytes, std::memory_order_relaxed);
  delete slab;
}

void Shard::link(Slab* slab) {
  Slab*& head = partial_[slab->size_class];
  slab->previous = nullptr;
  slab->next = head;
  if (head != nullptr) head->previous = slab;
  head = slab;
}

void Shard::unlink(Slab* slab) {
  (slab->previous != nullptr ? slab->previous->next : partial_[slab->size_class]) = slab->next;
  if (slab->next != nullptr) slab->next->previous = slab->previous;
  slab->next = slab->previous = nullptr;
}

// Cuts the slab into free buffers of the class.
static void cut(Slab* slab, Shard* shard, size_t size_class) {
  if (slab->headers == nullptr || slab->size_class != size_class) {
    slab->size_class = size_class;
    slab->headers = std::make_unique<Header[]>(slab->capacity());
  }
  slab->shard = shard;
  slab->free = nullptr;
  for (size_t i = slab->capacity(); i-- > 0;) {
    Header& header = slab->headers[i];
    header.slab = slab;
    header.data = slab->memory + i * class_bytes(size_class);
    header.next_free = slab->free;
    slab->free = &header;
  }
  ASAN_POISON_MEMORY_REGION(slab->memory, kSlabBytes);
}

Header* Shard::allocate(size_t size_class, bool may_grow) {
  MutexLock lock(mutex_);
  Slab* slab = partial_[size_class];
  if (slab == nullptr) {
    if (!may_grow) return nullptr;
    slab = pool_->take_slab();
    if (slab == nullptr) return nullptr;
    cut(slab, this, size_class);
    link(slab);
    ++free_slabs_[size_class];
  }
  if (slab->in_use++ == 0) --free_slabs_[size_class];
  Header* header = std::exchange(slab->free, slab->free->next_free);
  if (slab->free == nullptr) unlink(slab);
  return header;
}

void Shard::release(Header* header) {
  Slab* slab = header->slab;
  MutexLock lock(mutex_);
  if (slab->free == nullptr) link(slab);
  header->next_free = slab->free;
  slab->free = header;
  pool_->in_use_bytes.fetch_sub(class_bytes(slab->size_class), std::memory_order_relaxed);
  if (--slab->in_use > 0) return;
  if (free_slabs_[slab->size_class] == 0) {
    ++free_slabs_[slab->size_class];
    return;
  }
  unlink(slab);
  pool_->give_slab(slab);
}

Slab* Shard::take_free_slabs() {
  Slab* taken = nullptr;
  MutexLock lock(mutex_);
  for (size_t size_class = 0; size_class < kClasses; ++size_class) {
    if (free_slabs_[size_class] == 0) continue;
    Slab* slab = partial_[size_class];
    while (slab->in_use > 0) slab = slab->next;
    unlink(slab);
    free_slabs_[size_class] = 0;
    slab->next = std::exchange(taken, slab);
  }
  return taken;
}

Pool::Pool(size_t limit_bytes) : state_(std::make_unique<State>(limit_bytes)) {}

Pool::~Pool() {
  CHECK_MSG(in_use_bytes() == 0, "a buffer outlives its pool");
  trim();
  CHECK(state_->mapped_bytes.load() == 0);
}

BufferRef Pool::allocate(size_t size_bytes) {
  CHECK(size_bytes > 0 && size_bytes <= kSizeMax);
  const size_t size_class = class_of(size_bytes);
  if (!state_->reserve(class_bytes(size_class))) return {};
  Header* header = state_->find_buffer(size_class);
  if (header == nullptr) {
    state_->in_use_bytes.fetch_sub(class_bytes(size_class), std::memory_order_relaxed);
    return {};
  }
  ASAN_UNPOISON_MEMORY_REGION(header->data, class_bytes(size_class));
  header->size_bytes = 0;
  header->refs.store(1, std::memory_order_relaxed);
  return BufferRef(header);
}

size_t Pool::in_use_bytes() const {
  return state_->in_use_bytes.load(std::memory_order_relaxed);
}
size_t Pool::limit_bytes() const {
  return state_->limit_bytes;
}

size_t Pool::free_bytes() const {
  const size_t in_use = in_use_bytes();
  const size_t mapped = state_->mapped_bytes.load(std::memory_order_relaxed);
  return mapped > in_use ? mapped - in_use : 0;
}

size_t Pool::trim() {
  size_t given = 0;
  const auto unmap_all = [&](Slab* slab) {
    while (slab != nullptr) {
      Slab* next = slab->next;
      state_->unmap(slab);
      given += kSlabBytes;
      slab = next;
    }
  };
  for (Shard& shard : state_->shards) unmap_all(shard.take_free_slabs());
  Slab* spare;
  {
    MutexLock lock(state_->mutex);
    spare = std::exchange(state_->spare, nullptr);
  }
  unmap_all(spare);
  return given;
}

BufferRef::BufferRef(const BufferRef& other) : header_(other.header_) {
  if (header_ != nullptr) header_->refs.fetch_add(1, std::memory_order_relaxed);
}

BufferRef& BufferRef::operator=(const BufferRef& other) {
  if (this != &other) *this = BufferRef(other);
  return *this;
}

BufferRef& BufferRef::operator=(BufferRef&& other) noexcept {
  BufferRef old(std::exchange(header_, std::exchange(other.header_, nullptr)));
  return *this;
}

BufferRef::~BufferRef() {
  if (header_ == nullptr) return;
  // The one who frees sees all that others did with the buffer.
  if (header_->refs.fetch_sub(1, std::memory_order_acq_rel) > 1) return;
  ASAN_POISON_MEMORY_REGION(header_->data, bytes().size());
  header_->slab->shard->release(header_);
}

std::span<std::byte> BufferRef::bytes() const {
  return {header_->data, class_bytes(header_->slab->size_class)};
}

size_t BufferRef::size() const {
  return header_->size_bytes;
}

void BufferRef::set_size(size_t size_bytes) const {
  CHECK(size_bytes <= bytes().size());
  header_->size_bytes = static_cast<uint32_t>(size_bytes);
}

}  // namespace larder::buffer
