// CachedFileSystem: where things are at the source.
//
// A directory that is open there is worked in by its descriptor, whatever it and those above it are
// called by now.  One that is not is opened by the names that are known of it, one after the other.
// Names are what renames made here change, so these wait until nobody is on the way, and who comes
// then waits for them (moving_); what others have renamed at the source is noticed by the number of
// what is found under the name, as far as the source's numbers say anything.

#include <algorithm>

#include "base/check.h"
#include "fs/cached_file_system.h"

namespace larder::fs {
namespace {

// For a directory that cannot be opened because there are too many open files: its user waits for
// about a second.
constexpr Nanos kDescriptorPauseMin = std::chrono::milliseconds(1);
constexpr int kDescriptorTriesMax = 10;
// What is moved as fast as it is looked for is not found.
constexpr int kMovedMax = 8;

}  // namespace

bool CachedFileSystem::has_name(const Node& node) const {
  ReaderLock lock(tree_mutex_);
  return node.id() == kRootNode || !node.names_.empty();
}

uint64_t CachedFileSystem::number_of(Node& node) const {
  MutexLock lock(node.mutex_);
  return number_locked(node);
}

uint64_t CachedFileSystem::number_locked(const Node& node) const {
  const source::InodeNumbers numbers = source_.inode_numbers();
  // A number from an earlier run may be another file's since.
  const bool tells = numbers == source::InodeNumbers::kStable ||
                     (numbers == source::InodeNumbers::kWhileMounted && node.seen_in_this_run_);
  return tells ? node.attributes_.inode : 0;
}

source::DirectoryPtr CachedFileSystem::find_directory(Node& node) {
  return node.id() == kRootNode ? source_.root() : directories_.find(node.id());
}

io::Task<Result<source::DirectoryPtr>> CachedFileSystem::open_directory_at(source::Place place) {
  Nanos pause = kDescriptorPauseMin;
  for (int left = kDescriptorTriesMax;; pause *= 2) {
    source::Outcome<source::DirectoryPtr> opening = source_.open_directory(place);
    const Result<source::DirectoryPtr> opened = co_await std::move(opening);
    if (opened || !opened.error().is(Code::kNoDescriptors) || --left == 0) co_return opened;
    co_await io::Reactor::current()->sleep(pause);
  }
}

io::Task<Result<source::DirectoryPtr>> CachedFileSystem::open_child(source::DirectoryPtr directory,
                                                                    NodePtr child,
                                                                    std::string name) {
  for (;;) {
    if (auto open = find_directory(*child)) co_return open;
    const std::shared_ptr<io::Event> other = directories_.begin_opening(child->id());
    if (!other) break;
    co_await *other;
  }
  const SourceDirectories::Opening right(directories_, child->id());
  io::Task<Result<source::DirectoryPtr>> opening =
      open_directory_at({std::move(directory), std::move(name), number_of(*child)});
  const Result<source::DirectoryPtr> opened = co_await std::move(opening);
  if (opened) directories_.add(child->id(), *opened);
  co_return opened;
}

// Down from the nearest directory that is open.  `lost` is set to the one that its name does not
// lead to, or that has none.
io::Task<Result<source::DirectoryPtr>> CachedFileSystem::open_by_names(NodePtr node,
                                                                       NamedNode* lost) {
  std::vector<NamedNode> way;  // from the last to the first
  source::DirectoryPtr directory = find_directory(*node);
  for (NodePtr at = node; !directory; directory = find_directory(*at)) {
    Name name = first_name(*at);
    if (!name.parent) {
      if (is_removed(*at)) co_return fail(Code::kNotFound, "removed");
      *lost = {std::move(at), {}};
      co_return fail(Code::kStale, "no known name");
    }
    NodePtr parent = name.parent;
    way.push_back({std::move(at), std::move(name)});
    at = std::move(parent);
  }
  for (; !way.empty(); way.pop_back()) {
    io::Task<Result<source::DirectoryPtr>> opening =
        open_child(std::move(directory), way.back().node, way.back().name.name);
    Result<source::DirectoryPtr> opened = co_await std::move(opening);
    if (!opened && disproved_by(Asked::kUse, opened.error()).name) *lost = std::move(way.back());
    if (!opened) co_return opened;
    directory = std::move(*opened);
  }
  co_return directory;
}

io::Task<Result<source::DirectoryPtr>> CachedFileSystem::directory_at(NodePtr node) {
  for (int attempt = 0;; ++attempt) {
    if (auto directory = find_directory(*node)) co_return directory;
    NamedNode lost;
    Result<source::DirectoryPtr> opened = fail(Code::kStale);
    {
      const io::AsyncSharedMutex::Guard unmoved = co_await moving_.lock_shared();
      io::Task<Result<source::DirectoryPtr>> opening = open_by_names(node, &lost);
      opened = co_await std::move(opening);
    }
    if (opened || !lost.node || attempt == kMovedMax) co_return opened;
    io::Task<Result<void>> learning = learn_name(std::move(lost), opened.error());
    CO_TRY(co_await std::move(learning));
  }
}

// Of a directory that was renamed or removed at the source; fails when it has none.  Most renames
// leave it in the directory it was in: there it is listed with its number.
io::Task<Result<void>> CachedFileSystem::learn_name(NamedNode lost, Error error) {
  NodePtr parent = lost.name.parent;
  if (parent) {
    error = disproved(Asked::kUse, std::move(error), {lost.name});
    if (number_of(*parent) == 0) directories_.remove(parent->id());
    io::Task<Result<NodePtr>> resolving = resolve(parent, lost.name.name);
    const Result<NodePtr> found = co_await std::move(resolving);
    if (!found) co_return fail(is_outage(found.error()) ? found.error() : error);
  } else {
    parent = lost_in(*lost.node);
  }
  const uint64_t number = number_of(*lost.node);
  for (int attempt = 0; attempt < kMovedMax && !has_name(*lost.node); ++attempt) {
    if (!parent || number == 0) break;
    io::Task<Result<source::Listing>> listing = list_at(parent, source::Wait::kForAnswer);
    const Result<source::Listing> listed = co_await std::move(listing);
    if (!listed) break;
    const auto entry = std::ranges::find(listed->entries, number, &source::DirectoryEntry::inode);
    if (entry == listed->entries.end()) break;
    doubt({parent, entry->name});
    io::Task<Result<NodePtr>> resolving = resolve(parent, entry->name);
    if (!co_await std::move(resolving)) break;
  }
  co_return has_name(*lost.node) ? Result<void>() : fail(error);
}

CachedFileSystem::NodePtr CachedFileSystem::lost_in(const Node& node) {
  NodeId parent;
  {
    ReaderLock lock(tree_mutex_);
    parent = node.lost_in_;
  }
  return parent ? load(parent) : nullptr;
}

io::Task<Result<source::Place>> CachedFileSystem::place_in(NodePtr parent, std::string name) {
  if (name.size() > NAME_MAX) co_return fail(static_cast<Code>(ENAMETOOLONG));
  io::Task<Result<source::DirectoryPtr>> opening = directory_at(std::move(parent));
  CO_TRY_ASSIGN(source::DirectoryPtr directory, co_await std::move(opening));
  co_return source::Place{std::move(directory), std::move(name)};
}

io::Task<Result<source::Place>> CachedFileSystem::name_of(NodePtr node) {
  if (node->id() == kRootNode) co_return source::Place{source_.root(), {}};
  Name name = first_name(*node);
  if (!name.parent) co_return fail(Code::kStale, "no known name");
  io::Task<Result<source::Place>> placing = place_in(std::move(name.parent), std::move(name.name));
  CO_TRY_ASSIGN(source::Place place, co_await std::move(placing));
  place.number = number_of(*node);
  co_return place;
}

io::Task<Result<source::Place>> CachedFileSystem::place_of(NodePtr node) {
  if (auto open = find_directory(*node)) co_return source::Place{std::move(open), {}};
  io::Task<Result<source::Place>> naming = name_of(std::move(node));
  co_return co_await std::move(naming);
}

// Whether to ask again: the answer says that the node is not at its place, and that is another by
// now.
io::Task<bool> CachedFileSystem::was_moved(NodePtr node, Name asked) {
  if (node->is_directory() && directories_.find(node->id())) {
    // A descriptor that leads nowhere any more (FUSE, NFS): by its name it may be found.
    directories_.remove(node->id());
    co_return asked.parent != nullptr;
  }
  for (const auto& renamed : renames_under_way(nullptr)) co_await *renamed;
  const Name now = first_name(*node);
  const bool is_moved = now.parent && (now.parent != asked.parent || now.name != asked.name);
  if (!is_moved) expire(*node);  // the next look-up of its name asks the source
  co_return is_moved;
}

}  // namespace larder::fs
