// Incarnation: which of the files that a node's name has led to a handle was opened on.
//
// Where inode numbers say nothing, a name that shows another version may lead to another file. From
// then on the node is what the name leads to, and those who opened it before go on with what they
// opened: their incarnation is *parted* from the node, for good.  They go by their own descriptors
// and past the object: so a file that was changed in place shows them its new bytes, one that was
// replaced its old, and the object takes the bytes of its own file only.
//
// What the kernel reads by itself for such handles is the object that the file had when they were
// opened. It is theirs alone from then on, and takes on what their file is (fs/parted_objects.cc).
//
// Invariants
//   - Until it is parted it is its CachedFile's, whose mutex is held when it is.
//   - What is read through once it is parted was opened before.
//   - Once it is parted the object is written by whoever holds catching_up(), and has
//     Copy::size_bytes when that is free.
//
// Thread-safe; a leaf among the locks.
#pragma once

#include <atomic>
#include <memory>
#include <utility>
#include <vector>

#include "base/attributes.h"
#include "base/check.h"
#include "base/mutex.h"
#include "cache/object_room.h"
#include "io/completion.h"
#include "io/disk.h"
#include "source/source.h"

namespace larder::cache {

class Incarnation {
 public:
  using Opened = std::shared_ptr<source::SourceFile>;
  // All of the file's bytes as they were, for those who have nothing else.
  struct Copy {
    std::shared_ptr<io::File> object;  // null: not all of it was here
    uint64_t size_bytes = 0;
    std::shared_ptr<ObjectRoom> room = {};  // the object's
  };

  bool is_parted() const { return parted_.load(std::memory_order_acquire); }

  // A handle has the file open by this, for as long as the handle keeps it.
  void add(const Opened& opened, bool is_readable) {
    if (!opened) return;
    MutexLock lock(mutex_);
    for (auto* const known : {&opened_, &readable_})
      std::erase_if(*known, [](const auto& other) { return other.expired(); });
    opened_.push_back(opened);
    if (is_readable) readable_.push_back(opened);
    if (is_parted()) opened->bypass_page_cache();
  }
  // By anything that is open; null: nothing is.
  Opened any() const {
    MutexLock lock(mutex_);
    if (Opened file = first_of(opened_)) return file;
    return reader_ ? reader_ : kept_;
  }
  // By anything that can be read, and is not doubtful; null likewise.
  Opened readable() const {
    MutexLock lock(mutex_);
    const Opened file = first_of(readable_);
    return file ? file : reader_;
  }

  // By this its CachedFile does not read any more, as what it gave is doubtful. Until there is
  // another one (null) it may be the only way to the file.
  void keep(Opened doubtful) {
    MutexLock lock(mutex_);
    kept_ = std::move(doubtful);
  }
  Opened doubtful() const {
    MutexLock lock(mutex_);
    return kept_;
  }
  void part(Opened reader, Copy copy) {
    MutexLock lock(mutex_);
    reader_ = reader ? std::move(reader) : std::move(kept_);
    kept_.reset();
    remains_ = std::make_unique<Remains>();
    remains_->copy = std::move(copy);
    if (reader_) reader_->bypass_page_cache();
    for (const auto& opened : opened_)
      if (const Opened file = opened.lock()) file->bypass_page_cache();
    parted_.store(true, std::memory_order_release);
  }
  // Opened to be read before the file was parted, and not taken by the CachedFile any more.
  void add_reader(Opened reader) {
    MutexLock lock(mutex_);
    if (reader_) return;
    reader_ = std::move(reader);
    reader_->bypass_page_cache();
  }
  // --- once it is parted
  Opened reader() const {
    MutexLock lock(mutex_);
    return reader_;
  }
  Copy copy() const {
    MutexLock lock(mutex_);
    return remains().copy;
  }
  // The object has so many bytes now.
  void resized(uint64_t size_bytes) {
    MutexLock lock(mutex_);
    remains().copy.size_bytes = size_bytes;
  }
  // True when the name was seen to have another version than at the last call: the file that was
  // opened may be the one that changed.
  bool take_version(const Validator& seen) {
    MutexLock lock(mutex_);
    return std::exchange(remains().caught_up_with, seen) != seen;
  }
  void remember(const Attributes& last_known) {
    MutexLock lock(mutex_);
    remains().last_known = last_known;
  }
  Attributes last_known() const {
    MutexLock lock(mutex_);
    return remains().last_known;
  }
  // Before all mutexes.
  io::AsyncMutex& catching_up() {
    MutexLock lock(mutex_);
    return remains().catching_up;
  }

  // True for the first who asks, until reader_comes(): to open something to read by, should it be
  // parted.
  bool wants_reader() { return !reader_wanted_.exchange(true); }
  void reader_comes() { reader_wanted_.store(false); }

 private:
  // What there is of it once it is parted, which few are.
  struct Remains {
    io::AsyncMutex catching_up;
    Copy copy;
    Attributes last_known;
    Validator caught_up_with;
  };
  using Handles = std::vector<std::weak_ptr<source::SourceFile>>;
  static Opened first_of(const Handles& handles) {
    for (const auto& opened : handles)
      if (Opened file = opened.lock()) return file;
    return nullptr;
  }

  Remains& remains() const REQUIRES(mutex_) {
    CHECK(remains_ != nullptr);
    return *remains_;
  }

  std::atomic<bool> parted_{false};
  std::atomic<bool> reader_wanted_{false};
  mutable Mutex mutex_;
  Handles opened_ GUARDED_BY(mutex_);
  Handles readable_ GUARDED_BY(mutex_);  // of these
  Opened reader_ GUARDED_BY(mutex_);
  Opened kept_ GUARDED_BY(mutex_);
  std::unique_ptr<Remains> remains_ GUARDED_BY(mutex_);  // null: it is not parted
};

}  // namespace larder::cache
