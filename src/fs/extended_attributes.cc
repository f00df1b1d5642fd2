// CachedFileSystem: extended attributes, ACLs among them, are the source's.
//
// The kernel asks for a file's ACL whenever somebody other than its owner is checked, so what a
// file has, and has not, is kept in memory: any change of an extended attribute moves ctime, and
// what is kept goes when the file's version does.
//
// Of a file that is open they are asked through what is open: its name may lead to another by now.
// Of a directory or a special file without a name, which nothing holds, nothing is known.

#include "fs/cached_file_system.h"

namespace larder::fs {
namespace {

// Of one node; more is not kept.
constexpr size_t kXattrsMax = 16;
constexpr size_t kXattrBytesMax = 4096;

bool says_none(const Error& error) {
  return error.is(static_cast<Code>(ENODATA));
}

}  // namespace

io::Task<Result<std::string>> CachedFileSystem::get_xattr(KernelId id, std::string name) {
  CO_TRY_ASSIGN(const NodePtr node, this->node(id));
  const bool is_parted = parted(*node, id) != nullptr;  // what is kept is the node's
  if (!is_parted && !is_fresh(*node)) {
    io::Task<Result<void>> refreshing = refresh_open(node);
    const Result<void> refreshed = co_await std::move(refreshing);
    if (!refreshed && !is_outage(refreshed.error())) co_return fail(refreshed.error());
  }
  uint64_t asked_at = 0;
  Validator version;
  {
    MutexLock lock(node->mutex_);
    asked_at = changes().tick();
    version = source_.validator(node->attributes_);
    if (node->xattrs_ && node->xattrs_->version == version && !is_parted) {
      const auto known = node->xattrs_->values.find(name);
      const bool is_known = known != node->xattrs_->values.end();
      if (is_known && known->second) co_return *known->second;
      if (is_known) co_return fail(static_cast<Code>(ENODATA));
    }
  }
  io::Task<Result<std::shared_ptr<source::SourceFile>>> opening = opened(node, id);
  CO_TRY_ASSIGN(std::shared_ptr<source::SourceFile> held, co_await std::move(opening));
  const bool named = has_name(*node) || find_directory(*node);
  if (!named && !held) held = held_source(*node);
  if (!named && !held) co_return fail(static_cast<Code>(ENODATA));
  io::Task<Result<std::string>> getting =
      held ? held->get_xattr(name) : ask_at<std::string>(node, [this, name](source::Place place) {
        return source_.get_xattr(std::move(place), name);
      });
  const Result<std::string> got = co_await std::move(getting);
  if (is_parted) co_return got;
  if (!got && !says_none(got.error()))
    co_return fail(disproved(Asked::kUse, got.error(), {first_name(*node)}));
  if (got && got->size() > kXattrBytesMax) co_return got;
  MutexLock lock(node->mutex_);
  if (asked_at < node->attributes_changed_at_ || is_doubtful(node->attributes_)) co_return got;
  const bool has_room = node->xattrs_ && node->xattrs_->values.size() < kXattrsMax;
  if (!has_room || node->xattrs_->version != version)
    node->xattrs_ = std::make_unique<KnownXattrs>(KnownXattrs{.version = version});
  node->xattrs_->values.insert_or_assign(std::move(name), got ? std::optional(*got) : std::nullopt);
  co_return got;
}

io::Task<Result<void>> CachedFileSystem::set_xattr(KernelId id, std::string name, std::string value,
                                                   int flags, std::optional<Credentials> as) {
  CO_TRY_ASSIGN(const NodePtr node, this->node(id));
  io::Task<Result<std::shared_ptr<source::SourceFile>>> opening = opened(node, id);
  CO_TRY_ASSIGN(std::shared_ptr<source::SourceFile> held, co_await std::move(opening));
  const bool named = has_name(*node) || find_directory(*node);
  if (!named && !held) held = held_source(*node);
  if (!named && !held) co_return fail(Code::kNotSupported);
  expire(*node);
  io::Task<Result<void>> setting =
      held ? held->set_xattr(std::move(name), std::move(value), flags, std::move(as))
           : ask_at<void>(node, [this, name, value, flags, as](source::Place place) {
               return source_.set_xattr(std::move(place), name, value, flags, as);
             });
  const Result<void> set = co_await std::move(setting);
  if (cache::CachedFile* file = node->cached_file()) file->expect_ctime_change();
  expire(*node);  // an ACL moves the mode, any of them ctime
  if (!set) co_return fail(disproved(Asked::kUse, set.error(), {first_name(*node)}));
  co_return set;
}

io::Task<Result<std::vector<std::string>>> CachedFileSystem::list_xattr(KernelId id) {
  CO_TRY_ASSIGN(const NodePtr node, this->node(id));
  io::Task<Result<std::shared_ptr<source::SourceFile>>> opening = opened(node, id);
  CO_TRY_ASSIGN(std::shared_ptr<source::SourceFile> held, co_await std::move(opening));
  using Names = std::vector<std::string>;
  const bool named = has_name(*node) || find_directory(*node);
  if (!named && !held) held = held_source(*node);
  if (!named && !held) co_return Names();
  io::Task<Result<Names>> listing =
      held ? held->list_xattr() : ask_at<Names>(node, [this](source::Place place) {
        return source_.list_xattr(std::move(place));
      });
  const Result<Names> listed = co_await std::move(listing);
  if (!listed) co_return fail(disproved(Asked::kUse, listed.error(), {first_name(*node)}));
  co_return listed;
}

io::Task<Result<void>> CachedFileSystem::remove_xattr(KernelId id, std::string name) {
  CO_TRY_ASSIGN(const NodePtr node, this->node(id));
  io::Task<Result<std::shared_ptr<source::SourceFile>>> opening = opened(node, id);
  CO_TRY_ASSIGN(std::shared_ptr<source::SourceFile> held, co_await std::move(opening));
  const bool named = has_name(*node) || find_directory(*node);
  if (!named && !held) held = held_source(*node);
  if (!named && !held) co_return fail(static_cast<Code>(ENODATA));
  expire(*node);
  io::Task<Result<void>> removing = held ? held->remove_xattr(std::move(name))
                                         : ask_at<void>(node, [this, name](source::Place place) {
                                             return source_.remove_xattr(std::move(place), name);
                                           });
  const Result<void> removed = co_await std::move(removing);
  if (cache::CachedFile* file = node->cached_file()) file->expect_ctime_change();
  expire(*node);
  if (!removed) co_return fail(disproved(Asked::kUse, removed.error(), {first_name(*node)}));
  co_return removed;
}

}  // namespace larder::fs
