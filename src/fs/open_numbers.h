// OpenNumbers: which node has the source's file of a number open.
//
// A file that others rename while it is open here is found by its number under the new name: it is
// that file, and what is written to it by one name is read by the other.
//
// Invariants: by_number_ has the first node that was added with a number, until that is removed;
// each node in it is in by_node_ with that number.  There are at most as many as regular files are
// open here.  Thread-safe; a leaf among the locks.
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>
#include <unordered_map>

#include "base/ids.h"
#include "base/mutex.h"

namespace larder::fs {

class OpenNumbers {
 public:
  // number: 0 where the source's numbers say nothing.
  void add(NodeId node, uint64_t number) {
    if (number == 0) return;
    MutexLock lock(mutex_);
    if (by_number_.try_emplace(number, node).second) by_node_[node] = number;
    count_.store(by_number_.size(), std::memory_order_relaxed);
  }
  void remove(NodeId node) {
    if (empty()) return;
    MutexLock lock(mutex_);
    const auto known = by_node_.find(node);
    if (known == by_node_.end()) return;
    by_number_.erase(known->second);
    by_node_.erase(known);
    count_.store(by_number_.size(), std::memory_order_relaxed);
  }
  std::optional<NodeId> node_of(uint64_t number) const {
    if (empty()) return std::nullopt;
    MutexLock lock(mutex_);
    const auto known = by_number_.find(number);
    return known == by_number_.end() ? std::nullopt : std::optional(known->second);
  }

 private:
  bool empty() const { return count_.load(std::memory_order_relaxed) == 0; }

  mutable Mutex mutex_;
  std::unordered_map<uint64_t, NodeId> by_number_ GUARDED_BY(mutex_);
  std::unordered_map<NodeId, uint64_t> by_node_ GUARDED_BY(mutex_);
  std::atomic<size_t> count_{0};  // of by_number_
};

}  // namespace larder::fs
