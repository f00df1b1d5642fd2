// The set-user-id and set-group-id bits that a file loses when it is changed.
#pragma once

#include <sys/stat.h>

#include <algorithm>
#include <cstdint>

#include "base/attributes.h"

namespace larder::fs {

inline bool has_set_id(const Attributes& file) {
  return S_ISREG(file.mode) && (file.mode & (S_ISUID | S_ISGID)) != 0;
}

// Which of them go when `who`, whom nothing allows to keep them, changes its data or its owner:
// the same that Linux takes on a local disk.  Set-group-id without execute permission for the group
// makes nobody a member of it, so it stays for those who are.
inline uint32_t lost_set_id(const Attributes& file, const Credentials& who) {
  if (!has_set_id(file)) return 0;
  uint32_t lost = file.mode & S_ISUID;
  const bool member = who.gid == file.gid || std::ranges::count(who.groups, file.gid) != 0;
  if ((file.mode & S_IXGRP) != 0 || !member) lost |= file.mode & S_ISGID;
  return lost;
}

}  // namespace larder::fs
