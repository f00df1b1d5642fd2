#include "source/open_beneath.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/syscall.h>

namespace larder::source {

Result<void> check_name(const std::string& name) {
  if (name == "." || name == ".." || name.find('/') != name.npos || name.find('\0') != name.npos)
    return fail(Code::kInvalid, "not a name beneath the source");
  return {};
}

Result<UniqueFd> open_beneath(int directory, const std::string& name, int flags) {
  struct open_how how = {};
  how.flags = static_cast<uint64_t>(flags | O_CLOEXEC);
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
  long fd = -1;
  do {
    fd = ::syscall(SYS_openat2, directory, name.empty() ? "." : name.c_str(), &how, sizeof how);
  } while (fd < 0 && errno == EINTR);
  if (fd < 0) return fail_errno();
  return UniqueFd(static_cast<int>(fd));
}

}  // namespace larder::source
