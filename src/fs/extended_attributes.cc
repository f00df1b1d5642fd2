// CachedFileSystem: extended attributes, ACLs among them, are the source's.

#include "fs/cached_file_system.h"

namespace larder::fs {

io::Task<Result<std::string>> CachedFileSystem::get_xattr(KernelId id, std::string name) {
  CO_TRY_ASSIGN(const NodePtr node, this->node(id));
  CO_TRY_ASSIGN(std::string path, path_of(*node));
  source::Outcome<std::string> getting = source_.get_xattr(std::move(path), std::move(name));
  co_return co_await std::move(getting);
}

io::Task<Result<void>> CachedFileSystem::set_xattr(KernelId id, std::string name, std::string value,
                                                   int flags) {
  CO_TRY_ASSIGN(const NodePtr node, this->node(id));
  CO_TRY_ASSIGN(std::string path, path_of(*node));
  expire(*node);
  source::Outcome<void> setting =
      source_.set_xattr(std::move(path), std::move(name), std::move(value), flags);
  const Result<void> set = co_await std::move(setting);
  if (cache::CachedFile* file = node->cached_file()) file->expect_ctime_change();
  expire(*node);  // an ACL moves the mode, any of them ctime
  co_return set;
}

io::Task<Result<std::vector<std::string>>> CachedFileSystem::list_xattr(KernelId id) {
  CO_TRY_ASSIGN(const NodePtr node, this->node(id));
  CO_TRY_ASSIGN(std::string path, path_of(*node));
  source::Outcome<std::vector<std::string>> listing = source_.list_xattr(std::move(path));
  co_return co_await std::move(listing);
}

io::Task<Result<void>> CachedFileSystem::remove_xattr(KernelId id, std::string name) {
  CO_TRY_ASSIGN(const NodePtr node, this->node(id));
  CO_TRY_ASSIGN(std::string path, path_of(*node));
  expire(*node);
  source::Outcome<void> removing = source_.remove_xattr(std::move(path), std::move(name));
  const Result<void> removed = co_await std::move(removing);
  if (cache::CachedFile* file = node->cached_file()) file->expect_ctime_change();
  expire(*node);
  co_return removed;
}

}  // namespace larder::fs
