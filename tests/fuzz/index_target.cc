// The image of an index shard, as a checkpoint's pages give it: what loads can be used.
#include <cstring>

#include "base/check.h"
#include "fuzz/target.h"
#include "journal/index.h"

namespace larder::fuzz {

using namespace journal;

void run(std::string_view input) {
  IndexShard shard;
  const WriterLock lock(shard.mutex);
  std::string_view rest = input;
  const auto loaded = shard.load([&](std::span<std::byte> into) -> Result<void> {
    if (rest.size() < into.size()) return fail(Code::kCorrupt);
    std::memcpy(into.data(), rest.data(), into.size());
    rest.remove_prefix(into.size());
    return {};
  });
  if (!loaded) return;
  std::vector<uint64_t> heads;
  shard.collect(heads);
  for (const uint64_t head : heads) CHECK(head != 0 && head % 8 == 0);
  // It goes on working.
  for (uint64_t hash = 1; hash < 2000; hash += 7) {
    shard.put(hash * 0x9E3779B97F4A7C15ULL >> 6, {.address = hash * 8, .is_alone = true});
    CHECK(shard.find(hash * 0x9E3779B97F4A7C15ULL >> 6).address == hash * 8);
  }
  for (uint64_t hash = 1; hash < 2000; hash += 14) shard.erase(hash * 0x9E3779B97F4A7C15ULL >> 6);
  std::vector<std::byte> image;
  shard.save(1 << 20, image);
}

std::vector<std::string> seeds() {
  std::vector<std::string> all;
  for (const uint64_t keys : {0, 20, 900}) {
    IndexShard shard;
    const WriterLock lock(shard.mutex);
    for (uint64_t key = 1; key <= keys; ++key)
      shard.put(key * 0x9E3779B97F4A7C15ULL >> 6, {.address = key * 64, .is_alone = key % 2 == 0});
    std::vector<std::byte> image;
    shard.save(1 << 20, image);
    all.emplace_back(reinterpret_cast<const char*>(image.data()), image.size());
  }
  return all;
}

}  // namespace larder::fuzz
