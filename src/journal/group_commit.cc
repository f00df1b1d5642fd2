#include "journal/group_commit.h"

namespace larder::journal {

GroupCommit::GroupCommit(Log& log, Registry& registry)
    : log_(log),
      syncs_(registry.counter("larder_journal_syncs_total", "Syncs of the journal's log")),
      commits_(registry.counter("larder_journal_commits_total",
                                "Commits asked for; several may share a sync")) {}

Result<void> GroupCommit::wait_durable(uint64_t address) {
  commits_.add();
  mutex_.lock();
  while (log_.durable() < address && has_leader_) synced_.wait(mutex_);
  if (log_.durable() >= address) {
    mutex_.unlock();
    return {};
  }
  has_leader_ = true;
  mutex_.unlock();

  // Also what others appended since: their sync is done with this one.
  auto result = log_.sync();
  syncs_.add();

  const MutexLock lock(mutex_);
  has_leader_ = false;
  synced_.notify_all();
  return result;
}

}  // namespace larder::journal
