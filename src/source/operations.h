// The blocking calls of the source, one function each.  They run on worker threads, own or share
// what they touch, follow no symlink, and report the source's errno.  Thread-safe.
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

struct OpenedFd {
  UniqueFd fd;
  Attributes attributes;
};

// Of the file behind a descriptor, O_PATH ones included.
Result<Attributes> attributes(const Root& root, int fd);
Result<Attributes> set_attributes(const Root& root, int fd, const AttributeChange& change);

Result<Attributes> attributes(const Root& root, const std::string& path);
Result<Attributes> set_attributes(const Root& root, const std::string& path,
                                  const AttributeChange& change);
Result<std::string> read_link(const Root& root, const std::string& path);
Result<std::vector<DirectoryEntry>> list(const Root& root, const std::string& path);
Result<void> sync_directory(const Root& root, const std::string& path, bool data_only);
Result<struct statvfs> space(const Root& root);

// Regular files only: kInvalid, or EISDIR or ELOOP, for anything else.
Result<OpenedFd> open_file(const Root& root, const std::string& path, int flags);
Result<OpenedFd> reopen(const Root& root, int fd, int flags);
Result<OpenedFd> create_file(const Root& root, const std::string& path, int flags, uint32_t mode,
                             const Creator& creator);
Result<Attributes> make_directory(const Root& root, const std::string& path, uint32_t mode,
                                  const Creator& creator);
Result<Attributes> make_node(const Root& root, const std::string& path, uint32_t mode,
                             uint64_t rdev, const Creator& creator);
Result<Attributes> make_symlink(const Root& root, const std::string& target,
                                const std::string& path, const Creator& creator);
Result<Attributes> link(const Root& root, const std::string& path, const std::string& new_path);
Result<void> unlink(const Root& root, const std::string& path, int flags);  // AT_REMOVEDIR
Result<void> rename(const Root& root, const std::string& path, const std::string& new_path,
                    unsigned flags);

Result<std::string> get_xattr(const Root& root, const std::string& path, const std::string& name);
Result<void> set_xattr(const Root& root, const std::string& path, const std::string& name,
                       const std::string& value, int flags, const std::optional<Credentials>& as);
Result<std::vector<std::string>> list_xattr(const Root& root, const std::string& path);
Result<void> remove_xattr(const Root& root, const std::string& path, const std::string& name);

// Of the file behind a descriptor, O_PATH ones included.
Result<std::string> get_xattr(int fd, const std::string& name);
Result<void> set_xattr(int fd, const std::string& name, const std::string& value, int flags,
                       const std::optional<Credentials>& as);
Result<std::vector<std::string>> list_xattr(int fd);
Result<void> remove_xattr(int fd, const std::string& name);

}  // namespace larder::source::operations
