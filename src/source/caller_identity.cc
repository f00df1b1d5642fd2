#include "source/caller_identity.h"

#include <linux/capability.h>
#include <sched.h>
#include <sys/fsuid.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>

#include "base/check.h"

namespace larder::source {
namespace {

using Capabilities = std::array<__user_cap_data_struct, _LINUX_CAPABILITY_U32S_3>;

Result<Capabilities> capabilities() {
  __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  Capabilities data = {};
  if (::syscall(SYS_capget, &header, data.data()) != 0) return fail_errno("capget");
  return data;
}

Result<void> set_capabilities(const Capabilities& data) {
  __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  if (::syscall(SYS_capset, &header, data.data()) != 0) return fail_errno("capset");
  return {};
}

Result<void> own_umask() {
  thread_local bool owned = false;
  if (owned) return {};
  if (::unshare(CLONE_FS) != 0) return fail_errno("unshare");
  owned = true;
  return {};
}

// Of this thread; the function of libc changes those of all.
Result<void> set_groups(const std::vector<gid_t>& groups) {
  if (::syscall(SYS_setgroups, groups.size(), groups.data()) != 0) return fail_errno("setgroups");
  return {};
}

// setfsuid and setfsgid do not say whether they worked; asking with -1 does.
Result<void> set_ids(uid_t uid, gid_t gid) {
  ::setfsgid(gid);
  ::setfsuid(uid);
  if (static_cast<gid_t>(::setfsgid(static_cast<gid_t>(-1))) != gid ||
      static_cast<uid_t>(::setfsuid(static_cast<uid_t>(-1))) != uid)
    return fail(static_cast<Code>(EPERM), "act as the caller");
  return {};
}

}  // namespace

CallerIdentity::CallerIdentity(const Caller& caller, bool act_as_caller)
    : status_(take_on(caller, act_as_caller)) {}

CallerIdentity::CallerIdentity(const Credentials& caller) : status_(take_on_groups(caller)) {}

Result<void> CallerIdentity::take_on_groups(const Credentials& caller) {
  const int count = ::getgroups(0, nullptr);
  if (count < 0) return fail_errno("getgroups");
  groups_before_.resize(static_cast<size_t>(count));
  if (::getgroups(count, groups_before_.data()) != count) return fail_errno("getgroups");
  TRY(set_groups(caller.groups));
  groups_changed_ = true;
  return take_on_ids(caller.uid, caller.gid);
}

Result<void> CallerIdentity::take_on(const Caller& caller, bool act_as_caller) {
  TRY(own_umask());
  umask_before_ = ::umask(caller.umask & 0777);
  umask_changed_ = true;
  if (!act_as_caller) return {};
  return take_on_ids(caller.uid, caller.gid);
}

Result<void> CallerIdentity::take_on_ids(uid_t uid, gid_t gid) {
  uid_before_ = ::geteuid();
  gid_before_ = ::getegid();
  TRY_ASSIGN(Capabilities kept, capabilities());
  ids_changed_ = true;
  TRY(set_ids(uid, gid));
  if (uid == uid_before_) return {};
  // Leaving uid 0 dropped the file capabilities from the effective set.
  kept[CAP_TO_INDEX(CAP_FSETID)].effective &= ~CAP_TO_MASK(CAP_FSETID);
  return set_capabilities(kept);
}

CallerIdentity::~CallerIdentity() {
  if (umask_changed_) ::umask(umask_before_);
  // A worker thread that kept a caller's identity would create the next one's files as him.  Going
  // back to uid 0 raises the file capabilities again.
  if (ids_changed_) CHECK(set_ids(uid_before_, gid_before_).has_value());
  if (groups_changed_) CHECK(set_groups(groups_before_).has_value());
}

}  // namespace larder::source
