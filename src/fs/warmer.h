// Warmer: loads files by path, many at a time, in jobs that can be watched.
//
// Paths are queued per job and loaded by coroutines spread over the reactors.  A directory queued
// as recursive puts its children in front of the queue (depth first, so the queue stays as long as
// one path's siblings).  What does not exist is counted and no error.  A job is a client's, whose
// number the caller gives; when that has gone what is left of its jobs is dropped.
//
// Invariants: at most loads_max loads are under way, of all jobs together; at most queue_max paths
// given by clients wait (a job's own children come on top); a job is done when it was ended, its
// queue is empty and nothing of it is under way. Thread-safe; calls do not block.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/metrics.h"
#include "base/mutex.h"
#include "cache/fetch_watch.h"
#include "fs/cached_file_system.h"

namespace larder::fs {

struct WarmProgress {
  uint64_t files_total = 0;  // known so far
  uint64_t files_done = 0;
  uint64_t files_missing = 0;
  uint64_t files_failed = 0;
  // Of the files that loading has begun of; of those under way as far as it has come.
  uint64_t bytes_total = 0;
  uint64_t bytes_done = 0;
  bool done = false;
  std::vector<std::string> errors;   // the first few
  std::vector<std::string> missing;  // the first few
};

class Warmer {
 public:
  struct Options {
    size_t loads_max = 64;
    size_t queue_max = 16384;
    size_t jobs_max = 64;  // ended ones beyond it are forgotten, oldest first
  };

  Warmer(CachedFileSystem& files, const Options& options, Registry& registry);
  // Nothing may be under way: stop(), then stop the reactors.
  ~Warmer() = default;

  // kLimit when jobs_max jobs are running.
  Result<uint64_t> begin(uint64_t client);
  // Drops all that is left of the client's jobs and forgets them.
  void abandon(uint64_t client);
  // False: the queue is full, try again later.  kNotFound: no such job, or it was ended.
  Result<bool> add(uint64_t job, std::string path, bool recursive);
  Result<void> end(uint64_t job);
  Result<WarmProgress> progress(uint64_t job);
  // Drops what is queued; what is under way goes on to its end.
  void stop();

 private:
  struct Item {
    std::string path;
    bool recursive = false;
  };
  using Load = std::shared_ptr<cache::FetchWatch>;
  struct Job {
    uint64_t client = 0;
    std::deque<Item> queue;
    WarmProgress progress;  // without what is under way
    std::set<Load> under_way;
    bool ended = false;
  };
  static io::Task<void> load(Warmer* warmer, uint64_t job, Item item, Load watch);
  void finish(uint64_t job, const Item& item, const Load& watch,
              const Result<CachedFileSystem::Warmed>& result);
  static void take_in(Job& job, const Item& item, const Result<CachedFileSystem::Warmed>& result);
  void pump();

  CachedFileSystem& files_;
  const Options options_;
  Counter& files_warmed_;
  Counter& bytes_warmed_;
  Gauge& queued_gauge_;

  Mutex mutex_;
  std::map<uint64_t, Job> jobs_ GUARDED_BY(mutex_);
  uint64_t next_job_ GUARDED_BY(mutex_) = 1;
  uint64_t next_reactor_ GUARDED_BY(mutex_) = 0;
  size_t queued_ GUARDED_BY(mutex_) = 0;
  size_t under_way_ GUARDED_BY(mutex_) = 0;
  bool stopped_ GUARDED_BY(mutex_) = false;
};

}  // namespace larder::fs
