// Makes what the calling thread creates belong to a caller: file-system uid and gid, and umask.
//
// Ownership, inheritance of a set-group-id directory's group and default ACLs are then the source
// file system's work, as for a local process.  What the caller may do was decided by the kernel at
// the mount (default_permissions), so the thread keeps its capabilities; only CAP_FSETID is given
// up, which decides whether a file in a foreign group keeps its set-group-id bit.
//
// All of it belongs to the thread: setfsuid(2), setfsgid(2) and capset(2) always do, the umask once
// the thread has left the process's (unshare(2), CLONE_FS).  Only for worker threads of the source.
#pragma once

#include <sys/types.h>

#include "base/attributes.h"
#include "base/error.h"

namespace larder::source {

class CallerIdentity {
 public:
  // With all his groups, and without his umask.
  explicit CallerIdentity(const Credentials& caller);
  // With act_as_caller false only the umask is the caller's.
  CallerIdentity(const Caller& caller, bool act_as_caller);
  ~CallerIdentity();
  CallerIdentity(const CallerIdentity&) = delete;
  CallerIdentity& operator=(const CallerIdentity&) = delete;

  // An error when the thread could not take the identity on: nothing must be created then.
  const Result<void>& status() const { return status_; }

 private:
  Result<void> take_on(const Caller& caller, bool act_as_caller);
  Result<void> take_on_ids(uid_t uid, gid_t gid);
  Result<void> take_on_groups(const Credentials& caller);

  bool umask_changed_ = false;
  mode_t umask_before_ = 0;
  bool ids_changed_ = false;
  uid_t uid_before_ = 0;
  gid_t gid_before_ = 0;
  bool groups_changed_ = false;
  std::vector<gid_t> groups_before_;
  Result<void> status_;
};

}  // namespace larder::source
