// The handles of CachedFileSystem.
#pragma once

#include <memory>
#include <vector>

#include "base/mutex.h"
#include "cache/readahead.h"
#include "catalog/records.h"
#include "fs/cached_file_system.h"

namespace larder::fs {

struct CachedFileSystem::OpenFile {
  OpenFile(std::shared_ptr<Node> opened, cache::CachedFile& its_file)
      : node(std::move(opened)), file(its_file) {}

  // As the kernel's inode counts it.
  bool in_passthrough() const { return mode != OpenMode::kCached; }

  size_t place = 0;  // HandleSet's
  const std::shared_ptr<Node> node;
  cache::CachedFile& file;  // the node's
  uint64_t epoch = 0;       // of the kernel inode it was opened on
  int flags = 0;
  OpenMode mode = OpenMode::kCached;
  bool past_cache = false;                          // its size is made up
  uint64_t generation = 0;                          // pinned, in passthrough
  std::shared_ptr<source::SourceFile> source;       // open for writing; null on a read-only handle
  bool source_appends = false;                      // it was opened with O_APPEND
  std::shared_ptr<source::SourceFile> other;        // with O_APPEND or without, as source is not
  std::shared_ptr<cache::Incarnation> incarnation;  // never null
  std::atomic<bool> wrote{false};                   // since the last flush
  void will_write() {
    if (!wrote.exchange(true)) file.expect_flush();
  }
  Mutex mutex;
  cache::Readahead readahead GUARDED_BY(mutex);
};

// A snapshot of the entries, taken when reading begins at offset 0, so offsets are stable whatever
// changes.
struct CachedFileSystem::OpenDirectory {
  size_t place = 0;  // HandleSet's
  std::shared_ptr<Node> node;
  io::AsyncMutex reading;  // one reader at a time; guards the rest
  bool loaded = false;
  bool is_removed = false;  // no name was left of it: nothing is shown, not even "."
  std::vector<catalog::ListingEntry> entries;
  std::vector<std::shared_ptr<Node>> listed_ahead;  // held, so that resolving finds them
  std::vector<std::shared_ptr<Node>> resolved;      // by entry, until given out
  size_t attributes_to = 0;                         // entries below this one have been asked for
  size_t window = 0;
};

}  // namespace larder::fs
