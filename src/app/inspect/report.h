// What an examination of a cache directory found: kinds with their meaning and remedy, and the
// report that collects them.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "control/value.h"

namespace larder::app {

// docs/CHECK.md explains each.
enum class Kind {
  kSourceMark,
  kRootMark,
  kNewerFormat,
  kUnreadable,
  kTemporary,
  kForeignFile,
  kSuperblock,
  kCheckpoint,
  kLogTail,
  kLogDamage,
  kLogRecord,
  kIndex,
  kKeyCount,
  kRecord,
  kCounter,
  kId,
  kParent,
  kListing,
  kLeftover,
  kObjectShared,
  kObjectMissing,
  kObjectSize,
  kChunkBeyondEnd,
  kBlockHole,
  kBlockChecksum,
  kOrphan,
};
inline constexpr size_t kKindCount = static_cast<size_t>(Kind::kOrphan) + 1;

struct KindText {
  Kind kind;
  std::string_view name;
  // false: a note, a normal trace of a crash or somebody else's file; nothing is wrong.
  bool is_finding;
  std::string_view meaning;
  std::string_view remedy;
};
const std::array<KindText, kKindCount>& kind_texts();
const KindText& text_of(Kind kind);

struct Finding {
  Kind kind;
  std::string where;  // file and offset, or node and path, or object
  std::string what;
  // One line: kind, where, what, what it means, what to do.
  std::string line() const;
};

// Keeps the first kShownMax findings of each kind and counts all.
class Report {
 public:
  static constexpr size_t kShownMax = 100;

  using Say = void (*)(std::string_view text);

  // With `say` each line that is kept is said as it is found.
  explicit Report(Say say = nullptr) : say_(say) {}

  void add(Kind kind, std::string_view where, std::string_view what);
  uint64_t count(Kind kind) const { return counts_[static_cast<size_t>(kind)]; }
  // Of all kinds that are findings, or of the others.
  uint64_t finding_count() const { return sum(true); }
  uint64_t note_count() const { return sum(false); }
  const std::vector<Finding>& findings() const { return kept_; }
  // What is counted and not kept, one line for each such kind.
  std::vector<std::string> more() const;
  control::Value::Array json() const;
  control::Value::Object json_counts() const;

 private:
  uint64_t sum(bool is_finding) const;

  Say say_;
  std::array<uint64_t, kKindCount> counts_{};
  std::vector<Finding> kept_;
};

}  // namespace larder::app
