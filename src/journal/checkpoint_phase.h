// The phases of a checkpoint, full or increment, and which may follow which.
//
//   idle -> prepare -> write -> sync log -> seal -> publish -> verify -> retire -> idle
//
// From each a failure leads back to idle: before `publish` nothing is there but a file that is
// removed, from then on one more checkpoint, used only if it verifies.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "base/check.h"

namespace larder::journal {

enum class CheckpointPhase : uint8_t {
  kIdle,
  kPrepare,  // the range of the log and the counts are taken
  kWrite,    // the pages, into a file that is not yet one
  kSyncLog,  // what they point at becomes durable
  kSeal,     // the header, and all of the file durable
  kPublish,  // it gets its name
  kVerify,   // it is read back
  kRetire,   // what it makes superfluous goes
};
inline constexpr size_t kCheckpointPhases = 8;

// Bit n of row m: phase n may follow phase m.
constexpr bool may_follow(CheckpointPhase from, CheckpointPhase to) {
  using enum CheckpointPhase;
  constexpr auto bit = [](CheckpointPhase phase) { return 1u << static_cast<unsigned>(phase); };
  constexpr std::array<unsigned, kCheckpointPhases> kNext{
      bit(kPrepare),               // idle
      bit(kWrite) | bit(kIdle),    // prepare
      bit(kSyncLog) | bit(kIdle),  // write
      bit(kSeal) | bit(kIdle),     // sync log
      bit(kPublish) | bit(kIdle),  // seal
      bit(kVerify) | bit(kIdle),   // publish
      bit(kRetire) | bit(kIdle),   // verify
      bit(kIdle),                  // retire
  };
  return (kNext[static_cast<size_t>(from)] & bit(to)) != 0;
}

// Where one is.  One thread changes it, any may ask.
class CheckpointProgress {
 public:
  CheckpointPhase phase() const { return phase_.load(std::memory_order_relaxed); }
  void enter(CheckpointPhase next) {
    CHECK(may_follow(phase(), next));
    phase_.store(next, std::memory_order_relaxed);
  }

 private:
  std::atomic<CheckpointPhase> phase_{CheckpointPhase::kIdle};
};

}  // namespace larder::journal
