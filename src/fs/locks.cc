// Invariants, under mutex_:
//   - a node is in nodes_ only while it has a lock or a waiter;
//   - locks_ and waiting_ are the sums over all nodes; tickets_ has exactly the waiters;
//   - no two locks of different owners on a node conflict;
//   - every waiter conflicts with some lock held (else settle() would have granted it).
#include "fs/locks.h"

#include <algorithm>

#include "base/check.h"

namespace larder::fs {
namespace {

bool overlap(const PosixLock& a, const PosixLock& b) {
  return a.first <= b.last && b.first <= a.last;
}

bool exclude(LockType a, LockType b) {
  return a != LockType::kUnlock && b != LockType::kUnlock &&
         (a == LockType::kWrite || b == LockType::kWrite);
}

bool conflict(const PosixLock& held, const PosixLock& wanted) {
  return held.owner != wanted.owner && exclude(held.type, wanted.type) && overlap(held, wanted);
}

bool adjacent(const PosixLock& a, const PosixLock& b) {
  return (a.last != UINT64_MAX && a.last + 1 == b.first) ||
         (b.last != UINT64_MAX && b.last + 1 == a.first);
}

// What remains of `locks` when `wanted` is laid over its owner's ranges.
std::vector<PosixLock> overlay(const std::vector<PosixLock>& locks, PosixLock wanted) {
  const PosixLock range = wanted;
  std::vector<PosixLock> result;
  result.reserve(locks.size() + 2);
  for (const PosixLock& lock : locks) {
    if (lock.owner != wanted.owner) {
      result.push_back(lock);
    } else if (lock.type == wanted.type) {
      if (overlap(lock, range) || adjacent(lock, range)) {
        wanted.first = std::min(wanted.first, lock.first);
        wanted.last = std::max(wanted.last, lock.last);
      } else {
        result.push_back(lock);
      }
    } else if (!overlap(lock, range)) {
      result.push_back(lock);
    } else {
      PosixLock part = lock;
      if (lock.first < range.first) {
        part.last = range.first - 1;
        result.push_back(part);
      }
      if (lock.last > range.last) {
        part = lock;
        part.first = range.last + 1;
        result.push_back(part);
      }
    }
  }
  if (wanted.type != LockType::kUnlock) result.push_back(wanted);
  return result;
}

}  // namespace

LockTable::~LockTable() {
  MutexLock lock(mutex_);
  CHECK(waiting_ == 0);
}

std::optional<PosixLock> LockTable::test(NodeId id, const PosixLock& wanted) const {
  MutexLock lock(mutex_);
  const auto node = nodes_.find(id);
  if (node == nodes_.end()) return std::nullopt;
  std::optional<PosixLock> first;
  for (const PosixLock& held : node->second.posix)
    if (conflict(held, wanted) && (!first || held.first < first->first)) first = held;
  return first;
}

Result<void> LockTable::set(NodeId id, const PosixLock& wanted) {
  Answers answers;
  Result<void> result;
  {
    MutexLock lock(mutex_);
    result = try_now(id, false, wanted, answers);
  }
  run(answers);
  return result;
}

Result<void> LockTable::set_flock(NodeId id, uint64_t owner, LockType type) {
  Answers answers;
  Result<void> result;
  {
    MutexLock lock(mutex_);
    result = try_now(id, true, PosixLock{.type = type, .owner = owner}, answers);
  }
  run(answers);
  return result;
}

LockTable::Ticket LockTable::set_or_wait(NodeId id, const PosixLock& wanted, Done done) {
  return submit(id, false, wanted, std::move(done));
}

LockTable::Ticket LockTable::set_flock_or_wait(NodeId id, uint64_t owner, LockType type,
                                               Done done) {
  return submit(id, true, PosixLock{.type = type, .owner = owner}, std::move(done));
}

void LockTable::release_posix(NodeId id, uint64_t owner) {
  if (node_count_.load(std::memory_order_acquire) == 0) return;
  Answers answers;
  {
    MutexLock lock(mutex_);
    const auto node = nodes_.find(id);
    if (node == nodes_.end()) return;
    locks_ -= std::erase_if(node->second.posix,
                            [owner](const PosixLock& held) { return held.owner == owner; });
    settle(id, answers);
  }
  run(answers);
}

void LockTable::release_flock(NodeId id, uint64_t owner) {
  if (node_count_.load(std::memory_order_acquire) == 0) return;
  Answers answers;
  {
    MutexLock lock(mutex_);
    const auto node = nodes_.find(id);
    if (node == nodes_.end()) return;
    drop_flock(node->second, owner);
    settle(id, answers);
  }
  run(answers);
}

void LockTable::cancel(Ticket ticket) {
  Answers answers;
  {
    MutexLock lock(mutex_);
    const auto found = tickets_.find(ticket);
    if (found == tickets_.end()) return;
    const NodeId id = found->second.node;
    auto& waiters = nodes_.at(id).waiters;
    const auto waiter = std::ranges::find(waiters, ticket, &Waiter::ticket);
    CHECK(waiter != waiters.end());
    answers.emplace_back(std::move(waiter->done), fail(Code::kCancelled, "lock"));
    waiters.erase(waiter);
    tickets_.erase(found);
    --waiting_;
    settle(id, answers);
  }
  run(answers);
}

void LockTable::close() {
  std::vector<Ticket> tickets;
  {
    MutexLock lock(mutex_);
    closed_ = true;
    for (const auto& [ticket, wait] : tickets_) tickets.push_back(ticket);
  }
  for (const Ticket ticket : tickets) cancel(ticket);
}

LockTable::Counts LockTable::counts() const {
  MutexLock lock(mutex_);
  return {nodes_.size(), locks_, waiting_};
}

LockTable::Ticket LockTable::submit(NodeId id, bool flock, const PosixLock& wanted, Done done) {
  Answers answers;
  Ticket ticket = 0;
  {
    MutexLock lock(mutex_);
    Result<void> result = try_now(id, flock, wanted, answers);
    const bool in_the_way = !result && result.error().is(static_cast<Code>(EAGAIN));
    if (in_the_way && !flock && would_deadlock(id, wanted)) {
      result = fail(static_cast<Code>(EDEADLK), "lock");
    } else if (in_the_way && closed_) {
      result = fail(Code::kCancelled, "lock");
    } else if (in_the_way && full()) {
      result = fail(static_cast<Code>(ENOLCK), "lock");
    } else if (in_the_way) {
      ticket = next_ticket_++;
      nodes_.at(id).waiters.push_back({ticket, flock, wanted, std::move(done)});
      tickets_.emplace(ticket, Wait{id, wanted.owner, flock});
      ++waiting_;
    }
    // Not moved from where there is no ticket.  NOLINTNEXTLINE(bugprone-use-after-move)
    if (ticket == 0) answers.emplace_back(std::move(done), std::move(result));
  }
  run(answers);
  return ticket;
}

Result<void> LockTable::try_now(NodeId id, bool flock, const PosixLock& wanted, Answers& answers) {
  Node& node = nodes_[id];
  const Result<void> result = flock ? apply_flock(node, wanted) : apply_posix(node, wanted);
  settle(id, answers);
  return result;
}

Result<void> LockTable::apply_posix(Node& node, const PosixLock& wanted) {
  for (const PosixLock& held : node.posix)
    if (conflict(held, wanted)) return fail(static_cast<Code>(EAGAIN), "lock");
  std::vector<PosixLock> locks = overlay(node.posix, wanted);
  // Also an unlock may need room: it splits a range in two.
  const size_t others = locks_ - node.posix.size();
  if (locks.size() > node.posix.size() && others + locks.size() + waiting_ > locks_max_)
    return fail(static_cast<Code>(ENOLCK), "lock");
  locks_ = others + locks.size();
  node.posix = std::move(locks);
  return {};
}

Result<void> LockTable::apply_flock(Node& node, const PosixLock& wanted) {
  const auto own = std::ranges::find(node.flocks, wanted.owner, &Flock::owner);
  if (own != node.flocks.end() && own->type == wanted.type) return {};
  drop_flock(node, wanted.owner);
  if (wanted.type == LockType::kUnlock) return {};
  for (const Flock& held : node.flocks)
    if (exclude(held.type, wanted.type)) return fail(static_cast<Code>(EAGAIN), "flock");
  if (full()) return fail(static_cast<Code>(ENOLCK), "flock");
  node.flocks.push_back({wanted.owner, wanted.type});
  ++locks_;
  return {};
}

void LockTable::drop_flock(Node& node, uint64_t owner) {
  locks_ -= std::erase_if(node.flocks, [owner](const Flock& held) { return held.owner == owner; });
}

bool LockTable::would_deadlock(NodeId id, const PosixLock& wanted) const {
  std::set<uint64_t> seen;
  for (const PosixLock& held : nodes_.at(id).posix)
    if (conflict(held, wanted) && leads_to(held.owner, wanted.owner, seen)) return true;
  return false;
}

// Whether `from` waits, directly or through others, for a lock that `owner` holds.  Walks all
// waiters: they are few, and only a request that must wait comes here.
bool LockTable::leads_to(uint64_t from, uint64_t owner, std::set<uint64_t>& seen) const {
  std::vector<uint64_t> open{from};
  while (!open.empty()) {
    const uint64_t current = open.back();
    open.pop_back();
    if (current == owner) return true;
    if (!seen.insert(current).second) continue;
    for (const auto& [ticket, wait] : tickets_) {
      if (wait.flock || wait.owner != current) continue;
      const Node& node = nodes_.at(wait.node);
      const auto waiter = std::ranges::find(node.waiters, ticket, &Waiter::ticket);
      for (const PosixLock& held : node.posix)
        if (conflict(held, waiter->wanted)) open.push_back(held.owner);
    }
  }
  return false;
}

void LockTable::settle(NodeId id, Answers& answers) {
  const auto found = nodes_.find(id);
  if (found == nodes_.end()) return;
  Node& node = found->second;
  // A grant may put a weaker lock in place of a stronger one of its owner, and so free an earlier
  // waiter.
  while (grant_some(node, answers)) continue;
  if (node.posix.empty() && node.flocks.empty() && node.waiters.empty()) nodes_.erase(found);
  node_count_.store(nodes_.size(), std::memory_order_release);
}

bool LockTable::grant_some(Node& node, Answers& answers) {
  bool some = false;
  for (auto waiter = node.waiters.begin(); waiter != node.waiters.end();) {
    Result<void> result =
        waiter->flock ? apply_flock(node, waiter->wanted) : apply_posix(node, waiter->wanted);
    if (!result && result.error().is(static_cast<Code>(EAGAIN))) {
      ++waiter;
      continue;
    }
    some = true;
    answers.emplace_back(std::move(waiter->done), std::move(result));
    tickets_.erase(waiter->ticket);
    --waiting_;
    waiter = node.waiters.erase(waiter);
  }
  return some;
}

void LockTable::run(Answers& answers) {
  for (auto& [done, result] : answers) done(std::move(result));
}

}  // namespace larder::fs
