#include "fs/disproof.h"

#include <cerrno>

#include "fs/cached_file_system.h"

namespace larder::fs {
namespace {

constexpr Disproof kTarget{.target = true};
constexpr Disproof kName{.name = true};
constexpr Disproof kListing{.listing = true};
constexpr Disproof kWay{.name = true, .directories = true};
constexpr Disproof kBothNames{.target = true, .name = true};

struct Row {
  Asked asked;
  int error;
  Disproof disproof;
};

constexpr Row kRows[] = {
    {Asked::kMake, EEXIST, kTarget},
    {Asked::kMake, EISDIR, kTarget},  // created without O_EXCL: a directory is there,
    {Asked::kMake, ELOOP, kTarget},   // a symbolic link,
    {Asked::kMake, ENXIO, kTarget},   // or a socket
    {Asked::kMake, ENOENT, kWay},
    {Asked::kMake, ENOTDIR, kWay},
    {Asked::kMake, ESTALE, kWay},

    {Asked::kUnlink, ENOENT, kWay},
    {Asked::kUnlink, ENOTDIR, kWay},
    {Asked::kUnlink, ESTALE, kWay},
    {Asked::kUnlink, EISDIR, kName},

    {Asked::kRemoveDirectory, ENOENT, kWay},
    {Asked::kRemoveDirectory, ENOTDIR, kWay},
    {Asked::kRemoveDirectory, ESTALE, kWay},
    {Asked::kRemoveDirectory, ENOTEMPTY, kListing},
    {Asked::kRemoveDirectory, EEXIST, kListing},  // POSIX has both

    {Asked::kRename, ENOENT, kWay},
    {Asked::kRename, ESTALE, kWay},
    {Asked::kRename, EEXIST, {.target = true, .listing = true}},
    {Asked::kRename, ENOTEMPTY, {.target = true, .listing = true}},
    {Asked::kRename, EISDIR, kBothNames},
    {Asked::kRename, ENOTDIR, {.target = true, .name = true, .directories = true}},

    {Asked::kUse, ENOENT, kWay},
    {Asked::kUse, ENOTDIR, kWay},
    {Asked::kUse, ESTALE, kWay},
    {Asked::kUse, ELOOP, kWay},  // a symbolic link has taken a directory's place
};

}  // namespace

Disproof disproved_by(Asked asked, const Error& error) {
  for (const Row& row : kRows)
    if (row.asked == asked && error.is(static_cast<Code>(row.error))) return row.disproof;
  return {};
}

// --- what ends then

Error CachedFileSystem::disproved(Asked asked, Error error, const Involved& involved) {
  const Disproof disproof = disproved_by(asked, error);
  if (disproof.listing) doubt_listing(asked == Asked::kRename ? involved.target : involved.name);
  if (disproof.target) doubt(involved.target);
  bool is_directory = asked == Asked::kMake;  // what can be missing, then
  if (disproof.name) is_directory |= doubt(involved.name);
  if (disproof.directories)
    for (const Name& name : {involved.name, involved.target}) doubt_way_to(name.parent);
  // The program's next look comes before a notification about one name, which waits for the
  // directory's lock, and that the program holds until it has its answer.  Of a file it is enough
  // that its attributes are asked for; those of a directory are given to who has it open, whatever
  // has become of its name.  A name that was to be made the kernel drops by itself at EEXIST.
  const bool kernel_knows = asked == Asked::kMake && error.is(Code::kExists);
  if ((disproof.target && !kernel_knows) || (disproof.directories && is_directory))
    kernel_->expire_all_entries();
  return error;
}

// What the name leads to, or that it leads nowhere, is asked again when it is next needed.  True
// when it led to a directory.
bool CachedFileSystem::doubt(const Name& name) {
  if (!name.parent) return false;
  const std::optional<NodeId> child = known_child(*name.parent, name.name);
  bool doubted_before = true;
  {
    MutexLock lock(name.parent->mutex_);
    auto& children = name.parent->children().by_name;
    const auto known = children.find(name.name);
    if (known != children.end())
      doubted_before = std::exchange(known->second.valid_until, Nanos(0)) == Nanos(0);
    else
      doubted_before = !child;
  }
  const NodePtr node = child ? table_.find(*child) : nullptr;
  if (!doubted_before || (node && is_fresh(*node))) {
    if (node) doubt_attributes(*node);
    change_directory(*name.parent);
    kernel_->expire_entry(KernelId{name.parent->id().value}, name.name);
  }
  return node && node->is_directory();
}

void CachedFileSystem::doubt_attributes(Node& node) {
  expire(node);
  invalidate_attributes(node, known_to_kernel(node));
}

void CachedFileSystem::doubt_way_to(NodePtr directory) {
  while (directory && directory->id() != kRootNode) {
    const Name name = first_name(*directory);
    doubt(name);
    directory = name.parent;
  }
}

void CachedFileSystem::doubt_listing(const Name& name) {
  if (!name.parent) return;
  if (const NodePtr node = load_child(*name.parent, name.name)) change_directory(*node);
}

}  // namespace larder::fs
