#include "cache/claims.h"

#include <vector>

#include "base/limited_log.h"

namespace larder::cache {

Claims::Claims(catalog::Catalog& catalog, object::Objects& objects, Metrics& metrics,
               Nanos interval)
    : catalog_(catalog), objects_(objects), metrics_(metrics), interval_(interval) {
  thread_ = std::thread([this] { loop(); });
}

Claims::~Claims() {
  stop();
}

void Claims::add(std::shared_ptr<FileOwner> owner) {
  const NodeId id = owner->id();
  MutexLock lock(mutex_);
  if (pending_.emplace(id, std::move(owner)).second && pending_.size() == 1) wake_.notify_one();
}

void Claims::stop() {
  {
    MutexLock lock(mutex_);
    if (stopping_) return;
    stopping_ = true;
    wake_.notify_one();
  }
  thread_.join();
  run_once();
}

void Claims::loop() {
  pthread_setname_np(pthread_self(), "larder-claims");
  for (;;) {
    {
      MutexLock lock(mutex_);
      while (pending_.empty() && !stopping_) wake_.wait(mutex_);
      // Gather more: one sync for all that comes within the interval.
      using Steady = std::chrono::steady_clock;
      const auto until = Steady::now() + interval_;
      for (auto now = Steady::now(); !stopping_ && now < until; now = Steady::now())
        wake_.wait_for(mutex_, until - now);
      if (stopping_) return;
    }
    run_once();
  }
}

void Claims::store(FileOwner& owner, const CachedFile::ClaimableState& state) {
  const auto info = state.file ? state.file->info() : objects_.info(state.object);
  if (!info && info.error().is(Code::kNotFound)) return;  // removed by hand
  auto batch = info ? owner.file().end_claim(state, info->allocated_bytes)
                    : Result<catalog::Batch>(fail(info.error()));
  const auto stored = batch ? owner.persist(std::move(*batch)) : fail(batch.error());
  (stored ? metrics_.claims : metrics_.store_errors).add();
}

void Claims::between_rounds(const std::function<void()>& act) {
  const MutexLock round(round_mutex_);
  act();
}

void Claims::run_once() {
  MutexLock round(round_mutex_);
  std::unordered_map<NodeId, std::shared_ptr<FileOwner>> batch;
  {
    MutexLock lock(mutex_);
    batch.swap(pending_);
  }
  struct Claim {
    std::shared_ptr<FileOwner> owner;
    CachedFile::ClaimableState state;
  };
  std::vector<Claim> claims;
  std::vector<object::Objects::Dirty> dirty;
  for (auto& [id, owner] : batch) {
    auto state = owner->file().begin_claim();
    if (!state) continue;
    dirty.push_back({state->object, state->file});
    claims.push_back({owner, std::move(*state)});
  }
  if (claims.empty()) return;
  if (const auto synced = objects_.sync(dirty); !synced) {
    // What reached the disk is not known, and asking again would not tell: drop it all, also what
    // came meanwhile (one syncfs speaks for the whole disk); the source has it.
    for (Claim& claim : claims) claim.owner->file().drop();
    std::unordered_map<NodeId, std::shared_ptr<FileOwner>> meanwhile;
    {
      MutexLock lock(mutex_);
      meanwhile.swap(pending_);
    }
    for (auto& [id, owner] : meanwhile) owner->file().drop();
    metrics_.store_errors.add();
    log::limited_error("cannot sync the cache", 0, [&] {
      return fmt::format("cannot sync the cache: {}", synced.error().message());
    });
    return;
  }
  for (Claim& claim : claims) store(*claim.owner, claim.state);
  if (const auto committed = catalog_.commit(); !committed) metrics_.store_errors.add();
  if (committed_) committed_();
}

}  // namespace larder::cache
