// Threads that read, check and change the files of a known tree through a mount, until they have
// done what they should or the mount dies under them.
#pragma once

#include <atomic>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "kill/known_tree.h"

namespace larder::kill {

struct LoadOptions {
  std::string mount;      // the tree on the mount
  std::string directory;  // the same on the source, for changes behind the mount's back
  unsigned readers = 4;
  unsigned writers = 2;
  unsigned outsiders = 1;
  unsigned operations = 60;     // of each thread
  uint64_t kill_at = 0;         // SIGKILL to the daemon at so many operations of all threads; 0: no
  bool kill_at_the_end = true;  // and when all are done, if it still runs
  int daemon_fd = -1;           // its pidfd
};

class Load {
 public:
  Load(KnownTree& tree, LoadOptions options, uint64_t seed);
  // Waits for the threads, which end by themselves or with the mount.
  ~Load() { join(); }
  Load(const Load&) = delete;
  Load& operator=(const Load&) = delete;

  void join();
  // After join(): the first thing that was wrong; empty when nothing was.
  const std::string& failure() const { return failure_; }
  // After join(): operations that failed as those of a dead mount do.
  unsigned cut_off() const { return cut_off_.load(); }
  uint64_t operations() const { return done_.load(); }

 private:
  using Act = void (Load::*)(Random&);
  void work(Act act, uint64_t seed);
  void read(Random& random);
  void write(Random& random);
  void change_outside(Random& random);

  void create(Slot& slot, Random& random);
  void change_file(Slot& slot, Random& random);
  void remove(Slot& slot);
  void move(Slot& from, Slot& to);
  void check_whole(const Slot& slot);

  std::string at(const Slot& slot) const { return options_.mount + "/" + slot.name; }
  void kill_daemon() const;
  // Whether the error is that of a mount whose daemon was killed; else notes a failure.
  bool is_cut_off(int error, const std::string& doing);
  void fail(const std::string& what);

  KnownTree& tree_;
  const LoadOptions options_;
  std::atomic<uint64_t> done_{0};
  std::atomic<unsigned> running_{0};
  std::atomic<unsigned> cut_off_{0};
  std::atomic<bool> over_{false};
  std::mutex mutex_;  // guards failure_
  std::string failure_;
  std::vector<std::thread> threads_;
};

}  // namespace larder::kill
