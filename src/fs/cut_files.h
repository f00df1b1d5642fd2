// CutFiles: files that have just become shorter elsewhere, and which of their pages the kernel has
// to ask for again.
//
// An answer that ends early lowers the kernel's idea of the file's size only when the kernel has
// learned nothing of the file since it asked; else it takes zeros up to the old size for content.
// When that was is not known here.  But a page that cannot be had the kernel asks for once more
// before a program is told, and by then it has learned all it was told of the change: so the first
// answer for a page that would end early is an error, and the second one counts.
//
// While the kernel is being told to drop pages it is not known here whether it has learned of that
// already: what is refused then is answered a little later (kToldTime), so that what it asks again
// comes after what it was told.
//
// Invariants: at most kFilesMax files, each for kTime after it was cut, with at most kStretchesMax
// stretches that were refused.  A file that is cut again goes on knowing what was refused a moment
// ago: what is asked for again must not be refused twice.  Thread-safe; a leaf among the locks.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "base/mutex.h"

namespace larder::fs {

class CutFiles {
 public:
  // No question from before the cut comes later.
  static constexpr Nanos kTime = std::chrono::seconds(1);
  // A page that was refused is asked for again within this time, if it is.
  static constexpr Nanos kRetryTime = std::chrono::milliseconds(200);
  // By then the kernel has learned what it is being told, also on a busy machine.
  static constexpr Nanos kToldTime = std::chrono::milliseconds(20);
  static constexpr size_t kFilesMax = 1024;
  static constexpr size_t kStretchesMax = 256;

  // False: something of it was refused a moment ago, so the kernel must not be told anything of the
  // file now, which would spoil the answer to what it asks again.
  bool note(NodeId node, Nanos now) {
    MutexLock lock(mutex_);
    std::erase_if(files_, [&](const auto& known) { return now - known.second.cut_at >= kTime; });
    if (files_.size() >= kFilesMax && !files_.contains(node)) return true;
    Cut& cut = files_[node];
    count_.store(files_.size());
    return restart(cut, now);
  }
  // The same for a file that is known: its pages go now.
  bool note_again(NodeId node, Nanos now) {
    if (empty()) return true;
    MutexLock lock(mutex_);
    const auto found = files_.find(node);
    return found == files_.end() || restart(found->second, now);
  }
  bool empty() const { return count_.load(std::memory_order_relaxed) == 0; }
  bool contains(NodeId node, Nanos now) const {
    if (empty()) return false;
    MutexLock lock(mutex_);
    const auto found = files_.find(node);
    return found != files_.end() && now - found->second.cut_at < kTime;
  }
  // Whether something of it was refused a moment ago.
  bool awaits_retry(NodeId node, Nanos now) const {
    if (empty()) return false;
    MutexLock lock(mutex_);
    const auto found = files_.find(node);
    return found != files_.end() &&
           std::ranges::any_of(found->second.refused, [&](const Stretch& known) {
             return now - known.refused_at < kRetryTime;
           });
  }
  // Whether an answer for that stretch of the file, which ends early, is to be an error.
  bool refuses(NodeId node, uint64_t offset, uint64_t length, Nanos now) {
    MutexLock lock(mutex_);
    const auto found = files_.find(node);
    if (found == files_.end()) return false;
    Cut& cut = found->second;
    if (now - cut.cut_at >= kTime) {
      files_.erase(found);
      count_.store(files_.size());
      return false;
    }
    const bool was_refused = std::ranges::any_of(cut.refused, [&](const Stretch& known) {
      return offset >= known.offset && offset < known.offset + known.length;
    });
    if (was_refused || cut.refused.size() >= kStretchesMax) return false;
    cut.refused.push_back({offset, length, now});
    return true;
  }

  // The kernel is told of it now, and has been told.  True: the end is to be said, too.
  bool begin_telling(NodeId node) {
    if (empty()) return false;
    MutexLock lock(mutex_);
    const auto found = files_.find(node);
    if (found == files_.end()) return false;
    ++found->second.tellings;
    return true;
  }
  void end_telling(NodeId node) {
    if (empty()) return;
    MutexLock lock(mutex_);
    const auto found = files_.find(node);
    if (found != files_.end() && found->second.tellings > 0) --found->second.tellings;
  }
  bool is_being_told(NodeId node) const {
    MutexLock lock(mutex_);
    const auto found = files_.find(node);
    return found != files_.end() && found->second.tellings > 0;
  }

 private:
  struct Stretch {
    uint64_t offset = 0;
    uint64_t length = 0;
    Nanos refused_at{0};
  };
  struct Cut {
    Nanos cut_at{0};
    uint32_t tellings = 0;
    std::vector<Stretch> refused;
  };

  static bool restart(Cut& cut, Nanos now) {
    cut.cut_at = now;
    std::erase_if(cut.refused,
                  [&](const Stretch& known) { return now - known.refused_at >= kRetryTime; });
    return cut.refused.empty();
  }

  mutable Mutex mutex_;
  std::unordered_map<NodeId, Cut> files_ GUARDED_BY(mutex_);
  std::atomic<size_t> count_{0};  // of files_: nearly always none
};

}  // namespace larder::fs
