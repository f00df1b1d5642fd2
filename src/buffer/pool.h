// Pooled, reference-counted buffers in power-of-two size classes from 4 KiB to 1 MiB.
//
// A buffer goes back to its class's free list when its last BufferRef goes; free buffers are reused
// before new memory is asked for.  Bounded: the pool refuses (empty ref) beyond `limit_bytes` of
// buffers in use. Thread-safe; a single BufferRef is not, and set_size is for the one who fills the
// buffer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>

namespace larder::buffer {

class Pool;
struct Header;  // pool.cc
class Shard;    // pool.cc

// Shared ownership of one buffer.  Copying is one relaxed atomic increment.
class BufferRef {
 public:
  BufferRef() = default;
  BufferRef(const BufferRef& other);
  BufferRef(BufferRef&& other) noexcept : header_(std::exchange(other.header_, nullptr)) {}
  BufferRef& operator=(const BufferRef& other);
  BufferRef& operator=(BufferRef&& other) noexcept;
  ~BufferRef();

  explicit operator bool() const { return header_ != nullptr; }
  // The whole buffer: at least as long as asked for.
  std::span<std::byte> bytes() const;
  // How many bytes from the start are in use; set by whoever fills it.  0 at first.
  size_t size() const;
  void set_size(size_t size_bytes) const;
  std::span<const std::byte> data() const { return bytes().first(size()); }

 private:
  friend class Pool;
  explicit BufferRef(Header* header) : header_(header) {}
  Header* header_ = nullptr;
};

class Pool {
 public:
  static constexpr size_t kSizeMin = 4096;
  static constexpr size_t kSizeMax = 1 << 20;

  explicit Pool(size_t limit_bytes);
  // All BufferRefs must be gone.
  ~Pool();
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  // A buffer of at least size_bytes (1..kSizeMax), page-aligned, its content undefined; empty at
  // the limit.
  BufferRef allocate(size_t size_bytes);
  size_t in_use_bytes() const;
  size_t free_bytes() const;  // kept for reuse
  size_t limit_bytes() const;
  // Gives free memory back to the system, as far as whole slabs are free; returns how many bytes.
  size_t trim();

 private:
  friend class Shard;
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace larder::buffer
