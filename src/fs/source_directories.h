// SourceDirectories: the directories of the source that are open, by node.
//
// A directory that is open here is found without its names, wherever it has been moved, and what is
// done in it goes there.  The one used longest ago is closed for another; whoever still uses it
// keeps it.
//
// One that is being opened by somebody is waited for by the others.
//
// Invariants: there are at most `max` entries; by_node_ has exactly the entries of the list, which
// is in the order of use; by_number_ has those whose number is known.  Thread-safe.
#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <optional>
#include <unordered_map>

#include "base/ids.h"
#include "base/metrics.h"
#include "base/mutex.h"
#include "io/completion.h"
#include "source/place.h"

namespace larder::fs {

class SourceDirectories {
 public:
  SourceDirectories(size_t max, Registry& registry);

  // Null: it is not open, or was opened beneath a root that was lost since.
  source::DirectoryPtr find(NodeId node);
  // In the place of what was open for the node.
  void add(NodeId node, source::DirectoryPtr directory);
  void remove(NodeId node);
  // Whose open directory has that number: while it is open, no other has.
  std::optional<NodeId> node_of(uint64_t number) const;
  void clear();

  // The right to open the node's directory, until it is destroyed.
  class Opening {
   public:
    Opening(SourceDirectories& owner, NodeId node) : owner_(owner), node_(node) {}
    ~Opening() { owner_.end_opening(node_); }
    Opening(const Opening&) = delete;
    Opening& operator=(const Opening&) = delete;

   private:
    SourceDirectories& owner_;
    const NodeId node_;
  };
  // Null: the caller has the right, and makes an Opening.  Else somebody is opening it, and the
  // event is set when that has ended.
  std::shared_ptr<io::Event> begin_opening(NodeId node);

 private:
  void end_opening(NodeId node);

  struct Entry {
    NodeId node;
    source::DirectoryPtr directory;
  };
  using Entries = std::list<Entry>;
  // Into `gone`, which is destroyed without the lock.
  void take_out(Entries::iterator entry, Entries& gone) REQUIRES(mutex_);

  const size_t max_;
  mutable Mutex mutex_;
  Entries entries_ GUARDED_BY(mutex_);  // the one used last comes first
  std::unordered_map<NodeId, Entries::iterator> by_node_ GUARDED_BY(mutex_);
  std::unordered_map<uint64_t, NodeId> by_number_ GUARDED_BY(mutex_);
  std::unordered_map<NodeId, std::shared_ptr<io::Event>> openings_ GUARDED_BY(mutex_);
  Gauge& open_;
  Counter& closed_;
};

}  // namespace larder::fs
