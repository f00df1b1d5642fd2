// Index: a hash table in memory from a key's hash to the newest log record of the keys with that
// hash.
//
// The keys are not in it, only 8-byte entries of a 20-bit tag, a bit that says whether the record
// is alone in its chain (then compaction need not read it to know that no other one is live), and
// the record's address in units of 8 bytes (43 bits: 64 TiB of log).  Seven entries and a link to
// an overflow bucket make a bucket of one cache line, as in FASTER (Chandramouli et al., SIGMOD
// 2018).  Unlike there the table grows by linear hashing (Litwin, VLDB 1980), one bucket at a time,
// so no insert is slow and memory per key stays nearly constant.
//
// Which keys share an entry depends on 32 bits of the hash alone and not on the table's size: 6
// bits choose the shard, the low 26 of the rest are the entry's identity.  Its low 6 bits are in
// the number of any bucket it can be in, the other 20 are the tag; so a split needs no look at a
// key, and records with the same 32 bits stay one chain (through the records' previous addresses)
// forever.
//
// Invariants of a shard: bucket_count is between kBucketsMin and 2^26; an entry is in the chain of
// bucket_of(its identity); the entries of a chain are dense (a zero entry ends it); an overflow
// bucket is in one chain or on the free list.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/mutex.h"
#include "base/paged_array.h"

namespace larder::journal {

// A cache line of entries.
struct alignas(64) Bucket {
  static constexpr size_t kEntries = 7;
  std::array<uint64_t, kEntries> entries{};
  uint64_t overflow = 0;  // number of the next bucket in the overflow array plus one; 0: none
};
inline constexpr size_t kPieceBuckets = 64;  // neighbours in memory
using BucketArray = PagedArray<Bucket, kPieceBuckets>;

// What a checkpoint keeps of a shard, and the buckets behind it.
struct ShardImage {
  uint64_t log_address = 0;  // the image has all records before it and none from it on
  uint64_t unused = 0;       // a count in version 1
  uint64_t bucket_count = 0;
  uint64_t overflow_count = 0;
};

// The newest record of the keys that share an entry.
struct ChainHead {
  uint64_t address = 0;   // 0: there is no entry
  bool is_alone = false;  // no record is behind it; false says nothing
};

// Lock `mutex` around all calls; addresses are those of records, multiples of 8 and not 0.
class IndexShard {
 public:
  static constexpr size_t kBucketsMin = 64;
  static constexpr size_t kEntriesPerBucket = 10;  // the load at which it grows

  mutable SharedMutex mutex;

  IndexShard();

  ChainHead find(uint64_t hash) const REQUIRES_SHARED(mutex);
  void put(uint64_t hash, ChainHead head) REQUIRES(mutex);
  void erase(uint64_t hash) REQUIRES(mutex);
  // Takes away all entries whose record is below the address.  Looks at every entry.
  void drop_below(uint64_t address) REQUIRES(mutex);
  void reserve(size_t bucket_count) REQUIRES(mutex);

  uint64_t size_bytes() const REQUIRES_SHARED(mutex);
  // Records before this address are in the shard already: set by load() for replay.
  uint64_t covered_until() const REQUIRES_SHARED(mutex) { return covered_until_; }

  // Appends every entry's head.
  void collect(std::vector<uint64_t>& addresses) const REQUIRES_SHARED(mutex);

  // The shard as bytes: a ShardImage and its buckets.
  void save(uint64_t log_address, std::vector<std::byte>& into) const REQUIRES_SHARED(mutex);
  // Calls `read` for consecutive pieces of what save() gave, into a shard that is empty.  kCorrupt
  // when they make no sense.
  template <class Read>
  Result<void> load(Read&& read) REQUIRES(mutex);

 private:
  size_t bucket_of(uint64_t identity) const REQUIRES_SHARED(mutex);
  void insert(uint64_t identity, uint64_t entry) REQUIRES(mutex);
  void split() REQUIRES(mutex);
  uint64_t take_overflow() REQUIRES(mutex);
  void free_overflow(uint64_t link) REQUIRES(mutex);
  Result<void> check_loaded(uint64_t log_address) REQUIRES(mutex);

  BucketArray buckets_ GUARDED_BY(mutex);
  BucketArray overflow_ GUARDED_BY(mutex);
  uint64_t free_ GUARDED_BY(mutex) = 0;  // first overflow bucket not in use, linked by `overflow`
  uint64_t entry_count_ GUARDED_BY(mutex) = 0;
  uint64_t covered_until_ GUARDED_BY(mutex) = 0;
};

// Thread-safe through its shards' locks.
class Index {
 public:
  static constexpr size_t kShards = 64;

  IndexShard& shard_of(uint64_t hash) { return shards_[hash >> 58]; }
  IndexShard& shard(size_t i) { return shards_[i]; }
  const IndexShard& shard(size_t i) const { return shards_[i]; }

  // Whether keys of the two hashes share an entry.
  static constexpr bool same_entry(uint64_t a, uint64_t b) {
    return identity_of(a) == identity_of(b);
  }
  // 32 bits: equal if and only if same_entry().
  static constexpr uint64_t identity_of(uint64_t hash) {
    return (hash >> 58) << 26 | (hash & ((1u << 26) - 1));
  }
  // A hash with this identity.
  static constexpr uint64_t hash_of(uint64_t identity) {
    return identity >> 26 << 58 | (identity & ((1u << 26) - 1));
  }

  void reserve(uint64_t bucket_count);
  void drop_below(uint64_t address);
  uint64_t size_bytes() const;
  // Returns after every reader that was in a shard has left it.
  void wait_for_readers();

 private:
  std::array<IndexShard, kShards> shards_;
};

template <class Read>
Result<void> IndexShard::load(Read&& read) {
  ShardImage image;
  TRY(read(std::as_writable_bytes(std::span(&image, 1))));
  constexpr uint64_t kBucketsMax = uint64_t{1} << 26;
  if (image.bucket_count < kBucketsMin || image.bucket_count > kBucketsMax ||
      image.overflow_count > kBucketsMax)
    return fail(Code::kCorrupt, "index image: bucket counts");
  for (const auto& [array, count] :
       {std::pair(&buckets_, image.bucket_count), std::pair(&overflow_, image.overflow_count)}) {
    for (size_t i = 0; i < count;) {
      const size_t n = std::min<size_t>(kPieceBuckets, count - i);
      array->resize(i + n);
      TRY(read(std::as_writable_bytes(std::span(&(*array)[i], n))));
      i += n;
    }
  }
  covered_until_ = image.log_address;
  return check_loaded(image.log_address);
}

}  // namespace larder::journal
