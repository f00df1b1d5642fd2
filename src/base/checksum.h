// Checksums and hashes of stored bytes: XXH3 (https://github.com/Cyan4973/xxHash), stable across
// versions and machines, so both may be written to disk.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace larder {

uint64_t hash64(std::span<const std::byte> bytes, uint64_t seed = 0);
inline uint64_t hash64(std::string_view text, uint64_t seed = 0) {
  return hash64(std::as_bytes(std::span(text.data(), text.size())), seed);
}
// Low half of hash64: guards a record or a block.
inline uint32_t checksum32(std::span<const std::byte> bytes, uint64_t seed = 0) {
  return static_cast<uint32_t>(hash64(bytes, seed));
}
// Mixes an integer (splitmix64's finaliser): shard and bucket choice in memory.
constexpr uint64_t mix64(uint64_t x) {
  x ^= x >> 30;
  x *= 0xbf58476d1ce4e5b9ULL;
  x ^= x >> 27;
  x *= 0x94d049bb133111ebULL;
  x ^= x >> 31;
  return x;
}

}  // namespace larder
