// Tells the kernel what it must forget, from a thread of its own (a notification sent by a thread
// that serves requests can deadlock).
//
// Waiting notifications are merged: one per node, one per name.  Nodes are bounded by what the
// kernel knows, and those who wait for one are the caller's to bound. Names are bounded by
// kNamesMax; at that limit they are all given up for one FUSE_NOTIFY_INC_EPOCH, which makes the
// kernel look every name up again (Linux 6.16+).  An older kernel believes the names that were
// given up until their entry TTL ends; that is logged and counted.  Thread-safe.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <thread>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "base/checksum.h"
#include "base/metrics.h"
#include "base/mutex.h"
#include "fs/kernel_port.h"
#include "fuse/libfuse.h"

namespace larder::fuse {

class Notifier {
 public:
  static constexpr size_t kNamesMax = 65536;

  Notifier(fuse_session* session, Registry& registry);
  // Drops what waits.  The connection must be gone, or a notification under way may wait for it.
  ~Notifier();

  // then: called when it has been carried out, on the notifier's thread; dropped by stop().
  void invalidate_node(fs::KernelId node, std::function<void()> then = {});
  // At once, on the caller's thread: it takes no page's lock, so nobody waits for anybody.
  void invalidate_attributes(fs::KernelId node);
  // The kernel asks for the name when it next needs it.  It is not thrown out of the dentry cache:
  // that would unmount what is mounted on it, and it may well be there still.
  void expire_entry(fs::KernelId parent, std::string name);
  // At once, on the caller's thread, likewise; false when the kernel cannot.
  bool expire_all_entries();
  void stop();

 private:
  struct Entry {
    uint64_t parent;
    std::string name;
    bool operator==(const Entry&) const = default;
  };
  struct EntryHash {
    size_t operator()(const Entry& entry) const noexcept {
      return std::hash<std::string>()(entry.name) ^ mix64(entry.parent);
    }
  };
  struct Batch {
    std::unordered_map<uint64_t, std::vector<std::function<void()>>> nodes;  // and who waits
    std::unordered_set<Entry, EntryHash> entries;
    bool all_names = false;
    bool empty() const { return nodes.empty() && entries.empty() && !all_names; }
  };

  void run();
  void send(const Batch& batch);
  void send_expire_entry(const Entry& entry);
  void give_up_names();

  fuse_session* const session_;
  Counter& sent_;
  Counter& given_up_;
  Mutex mutex_;
  CondVar changed_;
  Batch waiting_ GUARDED_BY(mutex_);
  bool stopping_ GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace larder::fuse
