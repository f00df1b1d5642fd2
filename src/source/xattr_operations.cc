// Extended attributes, of the thing itself: the descriptor's name in /proc leads to the symlink,
// not on.
#include <fcntl.h>
#include <linux/limits.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "source/caller_identity.h"
#include "source/operations.h"
#include "source/proc_path.h"

namespace larder::source::operations {
namespace {

constexpr size_t kUsualSize = 1024;
constexpr size_t kSizeMax = std::max(XATTR_SIZE_MAX, XATTR_LIST_MAX);

// Most values are small: only a larger one asks twice.
template <class Ask>
Result<std::string> read_value(Ask ask) {
  std::string value(kUsualSize, '\0');
  ssize_t length = ask(value.data(), value.size());
  if (length < 0 && errno == ERANGE) {
    value.resize(kSizeMax);
    length = ask(value.data(), value.size());
  }
  if (length < 0) return fail_errno();
  value.resize(static_cast<size_t>(length));
  return value;
}

}  // namespace

Result<std::string> get_xattr(int fd, const std::string& name) {
  const ProcPath itself(fd);
  return read_value([&](char* into, size_t size) {
    return ::getxattr(itself.c_str(), name.c_str(), into, size);
  });
}

Result<void> set_xattr(int fd, const std::string& name, const std::string& value, int flags,
                       const std::optional<Credentials>& as) {
  const ProcPath itself(fd);
  std::optional<CallerIdentity> identity;
  if (as && ::geteuid() == 0) {  // as a user larder is nobody else
    identity.emplace(*as);
    TRY(identity->status());
  }
  if (::setxattr(itself.c_str(), name.c_str(), value.data(), value.size(), flags) != 0)
    return fail_errno();
  return {};
}

Result<std::vector<std::string>> list_xattr(int fd) {
  const ProcPath itself(fd);
  TRY_ASSIGN(const std::string joined, read_value([&](char* into, size_t size) {
               return ::listxattr(itself.c_str(), into, size);
             }));
  std::vector<std::string> names;
  for (size_t begin = 0; begin < joined.size();) {
    names.emplace_back(joined.c_str() + begin);
    begin += names.back().size() + 1;
  }
  return names;
}

Result<void> remove_xattr(int fd, const std::string& name) {
  if (::removexattr(ProcPath(fd).c_str(), name.c_str()) != 0) return fail_errno();
  return {};
}

}  // namespace larder::source::operations
