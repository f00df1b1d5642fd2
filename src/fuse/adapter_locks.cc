// POSIX and flock locks.
#include <sys/file.h>

#include "fuse/adapter.h"
#include "io/completion.h"

namespace larder::fuse {
namespace {

using fs::KernelId;
using fs::LockTable;
using fs::LockType;
using fs::PosixLock;

NodeId node_of(fuse_ino_t id) {
  return NodeId{KernelId{id}.node()};
}

LockType type_of(short type) {
  return type == F_UNLCK ? LockType::kUnlock : type == F_RDLCK ? LockType::kRead : LockType::kWrite;
}

// libfuse gives a length of 0 for "to the end of the file".
PosixLock lock_of(const struct flock& lock, uint64_t owner) {
  const auto first = static_cast<uint64_t>(lock.l_start);
  const uint64_t last =
      lock.l_len == 0 ? UINT64_MAX : first + static_cast<uint64_t>(lock.l_len) - 1;
  return {first, last, type_of(lock.l_type), owner, lock.l_pid};
}

struct flock flock_of(const PosixLock& lock) {
  struct flock result{};
  result.l_type = lock.type == LockType::kRead ? F_RDLCK : F_WRLCK;
  result.l_whence = SEEK_SET;
  result.l_start = static_cast<off_t>(lock.first);
  result.l_len = lock.last == UINT64_MAX ? 0 : static_cast<off_t>(lock.last - lock.first + 1);
  result.l_pid = lock.pid;
  return result;
}

void getlk(fuse_req_t request, fuse_ino_t id, fuse_file_info* info, struct flock* wanted) {
  const auto found =
      Adapter::of(request).locks.test(node_of(id), lock_of(*wanted, info->lock_owner));
  struct flock reply = *wanted;
  if (found)
    reply = flock_of(*found);
  else
    reply.l_type = F_UNLCK;
  fuse_reply_lock(request, &reply);
}

// Waits on the node's reactor; an interrupt ends the wait with EINTR, which the kernel turns into a
// restart where the program asked for one.
io::Task<void> wait_for_lock(Adapter* adapter, Responder responder, NodeId node, PosixLock wanted,
                             bool whole_file) {
  const io::Completion<Result<void>> answer;
  LockTable::Done done = [answer](Result<void> result) { answer.set(std::move(result)); };
  LockTable& locks = adapter->locks;
  const LockTable::Ticket ticket =
      whole_file ? locks.set_flock_or_wait(node, wanted.owner, wanted.type, std::move(done))
                 : locks.set_or_wait(node, wanted, std::move(done));
  if (ticket != 0) responder.on_interrupt([&locks, ticket] { locks.cancel(ticket); });
  const Result<void> result = co_await answer;
  reply_status(responder, result);
}

void lock(fuse_req_t request, fuse_ino_t id, const PosixLock& wanted, bool whole_file, bool wait) {
  Adapter& adapter = Adapter::of(request);
  const NodeId node = node_of(id);
  // Tried here first: most locks are free.
  Responder responder(request);
  const Result<void> result = whole_file ? adapter.locks.set_flock(node, wanted.owner, wanted.type)
                                         : adapter.locks.set(node, wanted);
  const bool in_the_way = !result && result.error().is(static_cast<Code>(EAGAIN));
  if (!in_the_way || !wait) return reply_status(responder, result);
  io::Reactor& home = adapter.files.home(KernelId{id});
  home.spawn(wait_for_lock(&adapter, responder.move_to(home, adapter.in_flight), node, wanted,
                           whole_file));
}

void setlk(fuse_req_t request, fuse_ino_t id, fuse_file_info* info, struct flock* wanted,
           int wait) {
  const PosixLock posix = lock_of(*wanted, info->lock_owner);
  if (posix.type != LockType::kUnlock)
    Adapter::of(request).handle_locks.note(info->fh, info->lock_owner);
  lock(request, id, posix, false, wait != 0);
}

void flock(fuse_req_t request, fuse_ino_t id, fuse_file_info* info, int operation) {
  const int what = operation & ~LOCK_NB;
  const LockType type = what == LOCK_UN   ? LockType::kUnlock
                        : what == LOCK_SH ? LockType::kRead
                                          : LockType::kWrite;
  lock(request, id, PosixLock{.type = type, .owner = info->lock_owner}, true,
       (operation & LOCK_NB) == 0);
}

}  // namespace

void add_lock_operations(fuse_lowlevel_ops& operations) {
  operations.getlk = getlk;
  operations.setlk = setlk;
  operations.flock = flock;
}

}  // namespace larder::fuse
