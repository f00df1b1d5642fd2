// One file of a SimDisk: what is on the medium, what the process sees, and the versions in between.
//
// Invariants: `live` is what readers see; `noticed` equals `live` but for stores through a mapping
// since the last notice(); a sector with entries in `versions` has its newest one equal to
// `noticed`.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <vector>

#include "base/random.h"

namespace larder::testing {

// Zeroed memory that takes room only where it was written, at a fixed place.
class SparseMemory {
 public:
  explicit SparseMemory(size_t size_bytes);
  ~SparseMemory();
  SparseMemory(const SparseMemory&) = delete;
  SparseMemory& operator=(const SparseMemory&) = delete;
  std::byte* data() const { return data_; }

 private:
  std::byte* data_;
  size_t size_bytes_;
};

// Not thread-safe, but stores through a mapping may go on during any call.
class SimInode {
 public:
  static constexpr size_t kSectorBytes = 512;
  static constexpr size_t kPageBytes = 4096;

  SimInode(bool is_directory, size_t size_bytes_max);

  bool is_directory() const { return is_directory_; }
  uint64_t size() const { return size_; }
  std::byte* live() const { return live_.data(); }

  void read(std::span<std::byte> into, uint64_t offset) const;
  void write(std::span<const std::byte> from, uint64_t offset);
  void zero(uint64_t offset, uint64_t length);
  void set_size(uint64_t size_bytes);
  void add_mapping(uint64_t offset, uint64_t length);
  // Not by a power loss or another process.
  void set_used_elsewhere(bool is_used) { is_used_elsewhere_ = is_used; }
  void add_opening(int n) { openings_ += n; }
  bool is_used_elsewhere() const { return is_used_elsewhere_ || openings_ > 1; }
  // Makes stores through mappings into unsynced versions.
  void notice();
  // Everything unsynced reaches the medium, or is forgotten by a failed sync.
  void sync();
  void forget_unsynced();

  // What the medium may hold after a power loss, as a new inode with nothing unsynced.
  std::shared_ptr<SimInode> after_power_loss(Random& random) const;
  // The same file for another process.
  std::shared_ptr<SimInode> after_process_death() const;
  void corrupt(uint64_t offset, uint8_t flipped_bits);

  // Pages that take space.
  uint64_t missing_pages(uint64_t offset, uint64_t length) const;
  void allocate_pages(uint64_t offset, uint64_t length);
  void free_pages(uint64_t offset, uint64_t length);
  uint64_t page_count() const;

 private:
  using Sector = std::array<std::byte, kSectorBytes>;
  static constexpr size_t kVersionsMax = 8;

  // Takes the range from live into noticed and adds a version to each of its sectors that changed,
  // or, after a write, that is not on the medium.
  void add_versions(uint64_t offset, uint64_t length, bool is_write = false);
  // Calls f(offset, length) for the parts of noticed and pristine content that may not be zero.
  template <class F>
  void for_each_extent(F f) const;

  const bool is_directory_;
  const size_t size_bytes_max_;
  uint64_t size_ = 0;
  uint64_t pristine_size_ = 0;
  std::vector<uint64_t> sizes_;  // unsynced, oldest first
  SparseMemory live_;
  SparseMemory noticed_;
  SparseMemory pristine_;
  std::map<uint64_t, std::vector<Sector>> versions_;  // by sector, unsynced, oldest first
  std::map<uint64_t, uint64_t> mappings_;             // offset to length
  bool is_used_elsewhere_ = false;
  std::atomic<int> openings_{0};
  std::vector<bool> pages_;    // takes space
  std::vector<bool> touched_;  // may be other than zero in any of the three
};

}  // namespace larder::testing
