// The cache directory as a whole: locked by one daemon, belonging to one source.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/error.h"
#include "io/disk.h"

namespace larder::app {

// A daemon whose mount is gone still writes down what it knows: its successor waits for that.
struct LockWait {
  Nanos patience = std::chrono::seconds(10);
  const Clock& clock = Clock::system();
  std::function<void(Nanos)> pause;                    // sleeps
  std::function<bool(const std::string&)> is_mounted;  // whether there is a larder mount there
  // Says where a mount that was at this place, or else one of this source, lives on; empty:
  // nowhere.
  std::function<std::string(const std::string& mountpoint, const std::string& source)> lives_on =
      {};
  static LockWait of_this_system();
};

// The parts of a cache directory that are no objects (docs/FORMAT.md).
inline constexpr const char* kMarkName = "SOURCE";
inline constexpr const char* kRootName = "ROOT";
inline constexpr const char* kLockName = "lock";
inline constexpr const char* kJournalName = "journal";
inline constexpr const char* kObjectsName = "objects";
inline constexpr std::string_view kUnfinishedSuffix = ".new";
// Of a repair: the journal that is to take the other's place, and where that goes meanwhile.
inline constexpr const char* kNewJournal = "journal.new";
inline constexpr const char* kOldJournal = "journal.old.new";

// The source's real path, of the text of SOURCE.  kNewerFormat, or kCorrupt when it does not parse.
Result<std::string> parse_mark(std::string_view text);
// The mount point of the daemon that holds or held the lock; empty when it cannot be known.
std::string holder_of(const std::string& path);

// Opens and locks the cache directory of the source with this real path; a new one is marked as the
// source's.  Errors name what to do: kLocked (another daemon uses it, and serves or does not end in
// time), kExists (it belongs to another source), kCorrupt, kNewerFormat.  Nothing is changed in a
// directory that is refused.
Result<std::unique_ptr<io::Disk>> open_cache_directory(const std::string& path,
                                                       const std::string& source,
                                                       const LockWait& wait);
// Where two names cannot be exchanged, a repair that was interrupted may have left no journal, but
// the complete new one and the old one under these names: puts the new one in its place.  True when
// it was so.
Result<bool> finish_journal_exchange(io::Disk& disk);
// Writes down who holds the lock, for those who come meanwhile.
Result<void> sign_lock(io::Disk& disk, const std::string& mountpoint);

// Makes or replaces a small file there, durably: after a crash it is the old or the new one.
Result<void> write_text(io::Disk& disk, const std::string& name, const std::string& text);
// Its first 16 KiB.
Result<std::string> read_text(io::Disk& disk, const std::string& name);

}  // namespace larder::app
