// Resolution is the kernel's (openat2(2), Linux 5.6): RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS |
// RESOLVE_NO_MAGICLINKS, one name at a time, so no path is too long.
#pragma once

#include <string>

#include "base/error.h"
#include "source/unique_fd.h"

namespace larder::source {

// One component, or empty for the directory itself; kInvalid for anything else.
Result<void> check_name(const std::string& name);

// Opens what has the name in the directory; a symlink is opened itself with O_PATH | O_NOFOLLOW,
// else ELOOP.  Blocking.
Result<UniqueFd> open_beneath(int directory, const std::string& name, int flags);

}  // namespace larder::source
