// A buffer of the pool, waited for: others give theirs back in moments.
#pragma once

#include "buffer/pool.h"
#include "io/reactor.h"
#include "io/task.h"

namespace larder::cache {

// On a reactor's thread.  Empty: there was none for about a second.
inline io::Task<buffer::BufferRef> allocate_in_time(buffer::Pool* pool, size_t size_bytes) {
  constexpr int kTriesMax = 10;
  Nanos pause = std::chrono::milliseconds(1);
  for (int left = kTriesMax;; pause *= 2) {
    buffer::BufferRef buffer = pool->allocate(size_bytes);
    if (buffer || --left == 0) co_return buffer;
    co_await io::Reactor::current()->sleep(pause);
  }
}

}  // namespace larder::cache
