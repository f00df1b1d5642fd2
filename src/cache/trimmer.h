// Trimmer: forgets what the catalog remembers of files and directories that nobody has asked for in
// a long time, so that the catalog does not grow with every name ever seen.
//
// A node is forgotten when it has no object, is not in memory (so unknown to the kernel), has not
// been used for `forget_after`, and, a directory, when no remembered node has it as parent.  The
// root stays.  With a node go its source-inode record and a directory's listing; a source-inode
// record goes also when its node is not remembered.  A name goes once
// its directory is forgotten: as long as that is remembered, a file that is looked up again keeps
// its id. Ids are never given to another file either way.
//
// While the catalog has no room (Catalog::has_room) a pass is made once a minute, whatever
// forget_after says, and forgets more: all that has not been used for an hour, or, a quarter above
// the limit, at all; and with a node its name, and names whose node is not remembered.
//
// A pass first notes, for all nodes, which directories have children, then looks at each node.  The
// note is a Bloom filter of fixed size: a directory that seems to have children stays until a later
// pass.  When a node was last used is written when it is opened; one that never was counts as used
// when the first pass comes across it.
//
// Invariant: a record is removed or written here only while its node (for a name: its directory) is
// not in memory and cannot come there (Host::if_absent), after it has been read again under the
// same condition.
//
// step() is the janitor's; schedule().request() may be called from any thread.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "base/clock.h"
#include "base/metrics.h"
#include "cache/pass_schedule.h"
#include "catalog/catalog.h"

namespace larder::cache {

class Trimmer {
 public:
  static constexpr Nanos kPeriod = std::chrono::hours(24);
  static constexpr Nanos kPause = std::chrono::milliseconds(50);
  static constexpr size_t kRecordsPerStep = 16384;
  static constexpr size_t kRemovalsPerStep = 256;
  static constexpr Nanos kPressedPeriod = std::chrono::minutes(1);
  static constexpr Nanos kPressedForgetAfter = std::chrono::hours(1);

  // Runs `act` unless the node is in memory, and keeps it from coming there meanwhile; whether it
  // did.  Thread-safe.
  using IfAbsent = std::function<bool(NodeId, const std::function<void()>& act)>;

  // forget_after 0: nothing is forgotten while there is room.  All outlive it.
  Trimmer(catalog::Catalog& catalog, Activity& activity, IfAbsent if_absent, Nanos forget_after,
          Registry& registry, const Clock& clock);
  ~Trimmer();

  NextStep step();
  PassSchedule& schedule() { return schedule_; }

 private:
  struct Pass;

  // One bounded piece of the pass; false: it is over.
  Result<bool> advance(Pass& pass);
  Result<void> note_parents(Pass& pass);
  Result<void> collect(Pass& pass);
  // Begins one if it is time for it.
  bool begin_pass();
  bool is_unused(const Pass& pass, const catalog::NodeRecord& record) const;
  Result<void> forget(const Pass& pass, NodeId node);
  Result<void> forget_unless_used(const Pass& pass, NodeId node);
  struct Name;
  Result<void> forget_name(const Pass& pass, const Name& name);
  struct Inode;
  Result<void> forget_inode(const Inode& inode);
  void end(const Result<void>& result);

  catalog::Catalog& catalog_;
  const IfAbsent if_absent_;
  const Nanos forget_after_;
  const Clock& clock_;
  Activity& activity_;
  PassSchedule schedule_;
  Counter& nodes_;
  Counter& names_;
  std::unique_ptr<Pass> pass_;  // the one under way
  Nanos next_pressed_{0};       // monotonic
};

}  // namespace larder::cache
