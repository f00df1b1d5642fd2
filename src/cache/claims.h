// Claims: makes cached blocks durable in the background, in batches.
//
// Every `interval` the files that gained blocks are taken together: their objects are synced first,
// and only then do the catalog's records say that the blocks are there; one commit makes the
// records durable.  Blocks that were not claimed before a crash are fetched again.  With nothing to
// do the thread sleeps without a timer.
//
// Invariant: a record is stored only for blocks that were present before the sync began and whose
// file did not change since (CachedFile::begin_claim, end_claim). Thread-safe.
#pragma once

#include <functional>
#include <memory>
#include <thread>
#include <unordered_map>

#include "base/clock.h"
#include "base/mutex.h"
#include "cache/cached_file.h"
#include "catalog/catalog.h"
#include "object/objects.h"

namespace larder::cache {

class Claims {
 public:
  Claims(catalog::Catalog& catalog, object::Objects& objects, Metrics& metrics, Nanos interval);
  // Stops.
  ~Claims();

  // Called after each round that committed something, on its thread: the journal has grown.  Set
  // before the first round.
  void set_committed(std::function<void()> committed) { committed_ = std::move(committed); }
  // The owner's file has something to claim.
  void add(std::shared_ptr<FileOwner> owner);
  // Claims what there is now and returns when it is durable.
  void run_once();
  // Runs `act` while no round is under way: what a round has collected and not stored yet could
  // bring back a claim that `act` takes away.  Waits for a sync of the disk at most.
  void between_rounds(const std::function<void()>& act);
  // Claims what there is a last time and ends the thread.  Idempotent.
  void stop();

 private:
  void loop();
  void store(FileOwner& owner, const CachedFile::ClaimableState& state);

  catalog::Catalog& catalog_;
  object::Objects& objects_;
  Metrics& metrics_;
  const Nanos interval_;
  std::function<void()> committed_;
  Mutex mutex_;
  CondVar wake_;
  bool stopping_ GUARDED_BY(mutex_) = false;
  std::unordered_map<NodeId, std::shared_ptr<FileOwner>> pending_ GUARDED_BY(mutex_);
  Mutex round_mutex_;  // one round at a time
  std::thread thread_;
};

}  // namespace larder::cache
