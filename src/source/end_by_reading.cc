#include "source/end_by_reading.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <limits>
#include <optional>
#include <thread>

#include "source/believable_read.h"

namespace larder::source {
namespace {

constexpr uint64_t kEndMax = std::numeric_limits<int64_t>::max() - 1;
// What the kernel remembers it has forgotten twice by then: the first time somebody may have asked
// by the name.
constexpr std::chrono::milliseconds kPause{8};
constexpr int kTriesMax = 280;

class Search {
 public:
  explicit Search(int fd) : fd_(fd) {}

  // Nothing: what was read at one moment and at another does not agree.
  Result<std::optional<uint64_t>> run(std::initializer_list<uint64_t> guesses) {
    for (const uint64_t guess : guesses)
      if (const uint64_t end = std::min(guess, kEndMax); end >= low_ && end <= high_ && !found_)
        TRY(look(end));
    // Steps that double until the end lies between two looks, which then halve what is between.
    for (uint64_t step = 1; low_ <= high_ && !found_; step = std::min(step, kEndMax / 4) * 2) {
      const uint64_t middle = low_ + (high_ - low_) / 2;
      if (high_ == kEndMax)
        TRY(look(std::min(low_ + step, middle)));
      else if (low_ == 0)
        TRY(look(std::max(high_ - std::min(step, high_), middle)));
      else
        TRY(look(middle));
    }
    return found_;
  }

 private:
  // At the byte before `end` and the one behind it.
  Result<void> look(uint64_t end) {
    std::array<std::byte, 2> bytes{};
    const size_t before = end > 0 ? 1 : 0;
    TRY_ASSIGN(const size_t got,
               read_directly(fd_, std::span(bytes).first(before + 1), end - before));
    if (got > before)
      low_ = end + 1;
    else if (got < before)
      high_ = end - 1;
    else
      found_ = end;
    return {};
  }

  const int fd_;
  // The end lies in [low_, high_].
  uint64_t low_ = 0;
  uint64_t high_ = kEndMax;
  std::optional<uint64_t> found_;
};

}  // namespace

Result<uint64_t> end_by_reading(int fd, std::initializer_list<uint64_t> guesses) {
  for (int tries = 0; tries < kTriesMax; ++tries) {
    if (tries > 0) std::this_thread::sleep_for(kPause);
    TRY_ASSIGN(const std::optional<uint64_t> end, Search(fd).run(guesses));
    if (end) return *end;
  }
  return fail(Code::kIo, "where the file ends cannot be told");
}

}  // namespace larder::source
