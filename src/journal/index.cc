#include "journal/index.h"

#include <bit>
#include <cstring>
#include <span>

#include "base/check.h"

namespace larder::journal {
namespace {

constexpr int kTagAt = 44;
constexpr uint64_t kAloneBit = uint64_t{1} << 43;
constexpr uint64_t kAddressMask = kAloneBit - 1;
constexpr uint64_t kIdentityMask = (uint64_t{1} << 26) - 1;
constexpr int kTagShift = 6;  // identity bits every bucket number has

uint64_t entry_of(uint64_t identity, ChainHead head) {
  CHECK(head.address % 8 == 0 && head.address != 0 && head.address / 8 <= kAddressMask);
  return identity >> kTagShift << kTagAt | (head.is_alone ? kAloneBit : 0) | head.address / 8;
}
uint64_t tag_of(uint64_t entry) {
  return entry >> kTagAt;
}
uint64_t address_of(uint64_t entry) {
  return (entry & kAddressMask) * 8;
}
uint64_t identity_of(uint64_t entry, size_t bucket) {
  return tag_of(entry) << kTagShift | (bucket & ((1u << kTagShift) - 1));
}

}  // namespace

IndexShard::IndexShard() {
  const WriterLock lock(mutex);
  buckets_.resize(kBucketsMin);
}

size_t IndexShard::bucket_of(uint64_t identity) const {
  const size_t level = std::bit_floor(buckets_.size());
  const size_t bucket = identity & (2 * level - 1);
  return bucket < buckets_.size() ? bucket : bucket & (level - 1);
}

ChainHead IndexShard::find(uint64_t hash) const {
  const uint64_t identity = hash & kIdentityMask;
  const uint64_t tag = identity >> kTagShift;
  const Bucket* bucket = &buckets_[bucket_of(identity)];
  while (true) {
    for (const uint64_t entry : bucket->entries) {
      if (entry == 0) return {};
      if (tag_of(entry) == tag)
        return {.address = address_of(entry), .is_alone = (entry & kAloneBit) != 0};
    }
    if (bucket->overflow == 0) return {};
    bucket = &overflow_[bucket->overflow - 1];
  }
}

void IndexShard::put(uint64_t hash, ChainHead head) {
  const uint64_t identity = hash & kIdentityMask;
  insert(identity, entry_of(identity, head));
  if (entry_count_ > buckets_.size() * kEntriesPerBucket) split();
}

void IndexShard::insert(uint64_t identity, uint64_t entry) {
  Bucket* bucket = &buckets_[bucket_of(identity)];
  while (true) {
    for (uint64_t& slot : bucket->entries) {
      if (slot != 0 && tag_of(slot) != tag_of(entry)) continue;
      if (slot == 0) ++entry_count_;
      slot = entry;
      return;
    }
    if (bucket->overflow == 0) bucket->overflow = take_overflow();
    bucket = &overflow_[bucket->overflow - 1];
  }
}

void IndexShard::erase(uint64_t hash) {
  const uint64_t identity = hash & kIdentityMask;
  const uint64_t tag = identity >> kTagShift;
  uint64_t* hole = nullptr;
  uint64_t* last = nullptr;
  Bucket* previous = nullptr;
  Bucket* bucket = &buckets_[bucket_of(identity)];
  while (true) {
    for (uint64_t& slot : bucket->entries) {
      if (slot == 0) break;
      if (tag_of(slot) == tag) hole = &slot;
      last = &slot;
    }
    if (bucket->overflow == 0) break;
    previous = bucket;
    bucket = &overflow_[bucket->overflow - 1];
  }
  if (hole == nullptr) return;
  *hole = *last;
  *last = 0;
  --entry_count_;
  if (previous != nullptr && bucket->entries[0] == 0) {
    free_overflow(previous->overflow);
    previous->overflow = 0;
  }
}

void IndexShard::split() {
  const size_t added = buckets_.size();
  if (added == kIdentityMask + 1) return;
  const size_t old = added & (std::bit_floor(added) - 1);
  buckets_.resize(added + 1);
  Bucket chain = buckets_[old];
  buckets_[old] = Bucket{};
  while (true) {
    for (const uint64_t entry : chain.entries) {
      if (entry == 0) break;
      --entry_count_;
      insert(identity_of(entry, old), entry);
    }
    if (chain.overflow == 0) return;
    const uint64_t link = chain.overflow;
    chain = overflow_[link - 1];
    free_overflow(link);
  }
}

uint64_t IndexShard::take_overflow() {
  if (free_ == 0) {
    overflow_.resize(overflow_.size() + 1);
    return overflow_.size();
  }
  const uint64_t link = free_;
  free_ = overflow_[link - 1].overflow;
  overflow_[link - 1].overflow = 0;
  return link;
}

void IndexShard::free_overflow(uint64_t link) {
  overflow_[link - 1] = Bucket{};
  overflow_[link - 1].overflow = free_;
  free_ = link;
}

void IndexShard::drop_below(uint64_t address) {
  std::vector<uint64_t> dropped;
  for (size_t i = 0; i < buckets_.size(); ++i) {
    for (const Bucket* bucket = &buckets_[i];; bucket = &overflow_[bucket->overflow - 1]) {
      for (const uint64_t entry : bucket->entries)
        if (entry != 0 && address_of(entry) < address) dropped.push_back(identity_of(entry, i));
      if (bucket->overflow == 0) break;
    }
  }
  for (const uint64_t identity : dropped) erase(identity);
}

void IndexShard::reserve(size_t bucket_count) {
  CHECK(entry_count_ == 0);
  if (bucket_count > buckets_.size()) buckets_.resize(bucket_count);
}

uint64_t IndexShard::size_bytes() const {
  return buckets_.size_bytes() + overflow_.size_bytes();
}

void IndexShard::collect(std::vector<uint64_t>& addresses) const {
  addresses.reserve(addresses.size() + entry_count_);
  for (const BucketArray* array : {&buckets_, &overflow_})
    for (size_t i = 0; i < array->size(); ++i)
      for (const uint64_t entry : (*array)[i].entries)
        if (entry != 0) addresses.push_back(address_of(entry));
}

void IndexShard::save(uint64_t log_address, std::vector<std::byte>& into) const {
  const ShardImage image{.log_address = log_address,
                         .unused = 0,
                         .bucket_count = buckets_.size(),
                         .overflow_count = overflow_.size()};
  into.resize(sizeof image + (buckets_.size() + overflow_.size()) * sizeof(Bucket));
  std::memcpy(into.data(), &image, sizeof image);
  std::byte* at = into.data() + sizeof image;
  for (const BucketArray* array : {&buckets_, &overflow_}) {
    for (size_t i = 0; i < array->size(); i += kPieceBuckets) {
      const size_t n = std::min(kPieceBuckets, array->size() - i);
      std::memcpy(at, &(*array)[i], n * sizeof(Bucket));
      at += n * sizeof(Bucket);
    }
  }
}

Result<void> IndexShard::check_loaded(uint64_t log_address) {
  // The links come from a file: each overflow bucket has one place at most, then there is no cycle
  // either.
  std::vector<bool> is_linked(overflow_.size());
  entry_count_ = 0;
  for (size_t i = 0; i < buckets_.size(); ++i) {
    for (const Bucket* bucket = &buckets_[i];;) {
      for (const uint64_t entry : bucket->entries) {
        if (entry == 0) continue;
        if (address_of(entry) == 0 || address_of(entry) >= log_address)
          return fail(Code::kCorrupt, "index image: address");
        ++entry_count_;
      }
      const uint64_t link = bucket->overflow;
      if (link == 0) break;
      if (link > overflow_.size() || is_linked[link - 1])
        return fail(Code::kCorrupt, "index image: overflow link");
      is_linked[link - 1] = true;
      bucket = &overflow_[link - 1];
    }
  }
  for (size_t i = 0; i < is_linked.size(); ++i)
    if (!is_linked[i]) free_overflow(i + 1);
  return {};
}

void Index::reserve(uint64_t bucket_count) {
  for (IndexShard& shard : shards_) {
    const WriterLock lock(shard.mutex);
    shard.reserve(bucket_count / kShards);
  }
}

void Index::drop_below(uint64_t address) {
  for (IndexShard& shard : shards_) {
    const WriterLock lock(shard.mutex);
    shard.drop_below(address);
  }
}

uint64_t Index::size_bytes() const {
  uint64_t bytes = sizeof *this;
  for (const IndexShard& shard : shards_) {
    const ReaderLock lock(shard.mutex);
    bytes += shard.size_bytes();
  }
  return bytes;
}

void Index::wait_for_readers() {
  for (IndexShard& shard : shards_) {
    const WriterLock lock(shard.mutex);
  }
}

}  // namespace larder::journal
