// The blocking calls of the source, one function each.  They run on worker threads, follow no
// symlink, and report the source's errno.  Thread-safe.
#pragma once

#include <sys/statvfs.h>

#include <cstdint>
#include <string>
#include <vector>

#include "base/attributes.h"
#include "base/error.h"
#include "source/caller_identity.h"
#include "source/root.h"
#include "source/source.h"
#include "source/unique_fd.h"

namespace larder::source::operations {

// Whose files a creating call makes.
struct Creator {
  Caller caller;
  bool act_as_caller = false;
};

// A place as a call finds it; all of it belongs to the caller.
struct At {
  int directory = -1;
  const std::string& name;
  uint64_t number = 0;
};

struct OpenedFd {
  UniqueFd fd;
  Attributes attributes;
};

// Of the file behind a descriptor, O_PATH ones included.
Result<Attributes> attributes(const Root& root, int fd);
Result<Attributes> set_attributes(const Root& root, int fd, const AttributeChange& change);

Result<Attributes> attributes(const Root& root, const At& at);
Result<Attributes> set_attributes(const Root& root, const At& at, const AttributeChange& change);
Result<std::string> read_link(const Root& root, const At& at);
Result<Listing> list(const Root& root, int directory);
Result<void> sync_directory(int directory, bool data_only);
Result<struct statvfs> space(int directory);

// An O_PATH descriptor, and the directory's number.
struct OpenedDirectory {
  UniqueFd fd;
  uint64_t number = 0;
};
Result<OpenedDirectory> open_directory(const Root& root, const At& at);
// Regular files only: kInvalid, or EISDIR or ELOOP, for anything else.
Result<OpenedFd> open_file(const Root& root, const At& at, int flags);
Result<OpenedFd> reopen(const Root& root, int fd, int flags);
Result<OpenedFd> create_file(const Root& root, const At& at, int flags, uint32_t mode,
                             const Creator& creator);
Result<Attributes> make_directory(const Root& root, const At& at, uint32_t mode,
                                  const Creator& creator);
Result<Attributes> make_node(const Root& root, const At& at, uint32_t mode, uint64_t rdev,
                             const Creator& creator);
Result<Attributes> make_symlink(const Root& root, const std::string& target, const At& at,
                                const Creator& creator);
Result<Attributes> link(const Root& root, const At& at, const At& new_at);
Result<void> unlink(const At& at, int flags);  // AT_REMOVEDIR
Result<void> rename(const At& at, const At& new_at, unsigned flags);

// An O_PATH descriptor of the file, directory, symlink ... itself.  kStale when the place says
// which file it has to be, and it is another.
Result<UniqueFd> node(const Root& root, const At& at);

// Of the file behind a descriptor, O_PATH ones included.
Result<std::string> get_xattr(int fd, const std::string& name);
Result<void> set_xattr(int fd, const std::string& name, const std::string& value, int flags,
                       const std::optional<Credentials>& as);
Result<std::vector<std::string>> list_xattr(int fd);
Result<void> remove_xattr(int fd, const std::string& name);

}  // namespace larder::source::operations
