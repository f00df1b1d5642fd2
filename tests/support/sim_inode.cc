#include "support/sim_inode.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <memory>

#include "base/check.h"

namespace larder::testing {
namespace {

// Other threads may store through a mapping meanwhile, as they may while a kernel writes a page
// out.
__attribute__((no_sanitize("thread"))) void copy_racy(std::byte* to, const std::byte* from,
                                                      size_t size) {
  for (size_t i = 0; i < size; i += sizeof(uint64_t)) {
    const auto word = *reinterpret_cast<const volatile uint64_t*>(from + i);
    *reinterpret_cast<volatile uint64_t*>(to + i) = word;
  }
}

__attribute__((no_sanitize("thread"))) void copy_bytes_racy(std::byte* to, const std::byte* from,
                                                            size_t size) {
  const auto is_aligned = [](const void* p) { return reinterpret_cast<uintptr_t>(p) % 8 == 0; };
  const size_t words = is_aligned(to) && is_aligned(from) ? size / 8 * 8 : 0;
  copy_racy(to, from, words);
  for (size_t i = words; i < size; ++i) to[i] = *const_cast<const volatile std::byte*>(from + i);
}

__attribute__((no_sanitize("thread"))) bool equal_racy(const std::byte* a, const std::byte* b,
                                                       size_t size) {
  uint64_t difference = 0;
  for (size_t i = 0; i < size; i += sizeof(uint64_t))
    difference |= *reinterpret_cast<const volatile uint64_t*>(a + i) ^
                  *reinterpret_cast<const volatile uint64_t*>(b + i);
  return difference == 0;
}

}  // namespace

SparseMemory::SparseMemory(size_t size_bytes) : size_bytes_(size_bytes) {
  void* memory = mmap(nullptr, size_bytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  CHECK(memory != MAP_FAILED);
  data_ = static_cast<std::byte*>(memory);
}

SparseMemory::~SparseMemory() {
  CHECK(munmap(data_, size_bytes_) == 0);
}

SimInode::SimInode(bool is_directory, size_t size_bytes_max)
    : is_directory_(is_directory),
      size_bytes_max_(is_directory ? kPageBytes : size_bytes_max),
      live_(size_bytes_max_),
      noticed_(size_bytes_max_),
      pristine_(size_bytes_max_) {}

void SimInode::read(std::span<std::byte> into, uint64_t offset) const {
  copy_bytes_racy(into.data(), live() + offset, into.size());
}

void SimInode::write(std::span<const std::byte> from, uint64_t offset) {
  std::memcpy(live() + offset, from.data(), from.size());
  if (offset + from.size() > size_) set_size(offset + from.size());
  add_versions(offset, from.size(), true);
}

void SimInode::zero(uint64_t offset, uint64_t length) {
  if (length == 0) return;
  // Whole pages never touched read as zeros already and are left alone.
  for (uint64_t at = offset; at < offset + length;) {
    const uint64_t end = std::min(offset + length, (at / kPageBytes + 1) * kPageBytes);
    if (at / kPageBytes < touched_.size() && touched_[at / kPageBytes]) {
      std::memset(live() + at, 0, end - at);
      add_versions(at, end - at);
    }
    at = end;
  }
}

void SimInode::set_size(uint64_t size_bytes) {
  const uint64_t old_size = size_;
  if (size_bytes < old_size) zero(size_bytes, old_size - size_bytes);
  if (size_bytes == old_size) return;
  size_ = size_bytes;
  sizes_.push_back(size_bytes);
}

void SimInode::add_mapping(uint64_t offset, uint64_t length) {
  uint64_t& known = mappings_[offset];
  known = std::max(known, length);
}

void SimInode::notice() {
  for (const auto& [offset, length] : mappings_) add_versions(offset, length);
}

void SimInode::add_versions(uint64_t offset, uint64_t length, bool is_write) {
  if (length == 0) return;
  const uint64_t last = (offset + length - 1) / kSectorBytes;
  for (uint64_t sector = offset / kSectorBytes; sector <= last; ++sector) {
    const uint64_t at = sector * kSectorBytes;
    if (equal_racy(live_.data() + at, noticed_.data() + at, kSectorBytes)) {
      // A write makes a sector dirty also when it changes nothing: of one that a failed sync left
      // clean, its content gets to the medium after all.
      if (!is_write || versions_.contains(sector) ||
          std::memcmp(noticed_.data() + at, pristine_.data() + at, kSectorBytes) == 0)
        continue;
    }
    auto& versions = versions_[sector];
    if (versions.size() == kVersionsMax) versions.erase(versions.begin());
    Sector& version = versions.emplace_back();
    copy_racy(version.data(), live_.data() + at, kSectorBytes);
    std::memcpy(noticed_.data() + at, version.data(), kSectorBytes);
  }
}

void SimInode::sync() {
  notice();
  for (const auto& [sector, versions] : versions_)
    std::memcpy(pristine_.data() + sector * kSectorBytes, versions.back().data(), kSectorBytes);
  pristine_size_ = size_;
  // Stores made since notice() are not on the medium and stay to be noticed.
  versions_.clear();
  sizes_.clear();
}

void SimInode::forget_unsynced() {
  notice();
  versions_.clear();
  sizes_.clear();
}

template <class F>
void SimInode::for_each_extent(F f) const {
  for (size_t page = 0; page < touched_.size(); ++page)
    if (touched_[page]) f(page * kPageBytes, kPageBytes);
}

std::shared_ptr<SimInode> SimInode::after_power_loss(Random& random) const {
  auto after = std::make_shared<SimInode>(is_directory_, size_bytes_max_);
  const uint64_t choice = random.below(sizes_.size() + 1);
  const uint64_t size = choice == 0 ? pristine_size_ : sizes_[choice - 1];
  const size_t page_end = (size + kPageBytes - 1) / kPageBytes;
  after->pages_ = pages_;
  after->pages_.resize(std::min(pages_.size(), page_end));
  after->touched_ = touched_;
  after->touched_.resize(std::min(touched_.size(), page_end));
  std::byte* content = after->pristine_.data();
  after->for_each_extent([&](uint64_t offset, uint64_t length) {
    std::memcpy(content + offset, pristine_.data() + offset, length);
  });
  for (const auto& [sector, versions] : versions_) {
    const uint64_t version = random.below(versions.size() + 1);
    const uint64_t at = sector * kSectorBytes;
    if (version == 0 || at >= size) continue;
    std::memcpy(content + at, versions[version - 1].data(), kSectorBytes);
  }
  // Behind the end there are zeros, also in the last page.
  const uint64_t tail = (kPageBytes - size % kPageBytes) % kPageBytes;
  if (tail != 0) std::memset(content + size, 0, tail);
  after->for_each_extent([&](uint64_t offset, uint64_t length) {
    std::memcpy(after->live_.data() + offset, content + offset, length);
    std::memcpy(after->noticed_.data() + offset, content + offset, length);
  });
  after->size_ = after->pristine_size_ = size;
  return after;
}

std::shared_ptr<SimInode> SimInode::after_process_death() const {
  auto after = std::make_shared<SimInode>(is_directory_, size_bytes_max_);
  after->pages_ = pages_;
  after->touched_ = touched_;
  for_each_extent([&](uint64_t offset, uint64_t length) {
    copy_racy(after->live_.data() + offset, live_.data() + offset, length);
    std::memcpy(after->noticed_.data() + offset, noticed_.data() + offset, length);
    std::memcpy(after->pristine_.data() + offset, pristine_.data() + offset, length);
  });
  after->versions_ = versions_;
  after->sizes_ = sizes_;
  after->size_ = size_;
  after->pristine_size_ = pristine_size_;
  return after;
}

void SimInode::corrupt(uint64_t offset, uint8_t flipped_bits) {
  CHECK(offset < size_);
  const auto bits = static_cast<std::byte>(flipped_bits);
  live_.data()[offset] ^= bits;
  noticed_.data()[offset] ^= bits;
  pristine_.data()[offset] ^= bits;
  if (const auto it = versions_.find(offset / kSectorBytes); it != versions_.end())
    for (Sector& version : it->second) version[offset % kSectorBytes] ^= bits;
  allocate_pages(offset, 1);
}

uint64_t SimInode::missing_pages(uint64_t offset, uint64_t length) const {
  if (length == 0) return 0;
  uint64_t missing = 0;
  for (uint64_t page = offset / kPageBytes; page <= (offset + length - 1) / kPageBytes; ++page)
    if (page >= pages_.size() || !pages_[page]) ++missing;
  return missing;
}

void SimInode::allocate_pages(uint64_t offset, uint64_t length) {
  if (length == 0) return;
  const uint64_t end = (offset + length - 1) / kPageBytes + 1;
  for (std::vector<bool>* bitmap : {&pages_, &touched_}) {
    if (bitmap->size() < end) bitmap->resize(end);
    std::fill(bitmap->begin() + static_cast<ptrdiff_t>(offset / kPageBytes),
              bitmap->begin() + static_cast<ptrdiff_t>(end), true);
  }
}

void SimInode::free_pages(uint64_t offset, uint64_t length) {
  const uint64_t end = std::min<uint64_t>((offset + length) / kPageBytes, pages_.size());
  for (uint64_t page = (offset + kPageBytes - 1) / kPageBytes; page < end; ++page)
    pages_[page] = false;
}

uint64_t SimInode::page_count() const {
  return static_cast<uint64_t>(std::count(pages_.begin(), pages_.end(), true));
}

}  // namespace larder::testing
