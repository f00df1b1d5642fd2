// CachedFileSystem: where things are at the source.

#include "base/check.h"
#include "fs/cached_file_system.h"

namespace larder::fs {
namespace {

// For a directory that cannot be opened because there are too many open files: its user waits for
// about a second.
constexpr Nanos kDescriptorPauseMin = std::chrono::milliseconds(1);
constexpr int kDescriptorTriesMax = 10;

}  // namespace

bool CachedFileSystem::has_name(const Node& node) const {
  ReaderLock lock(tree_mutex_);
  return node.id() == kRootNode || !node.names_.empty();
}

io::Task<Result<source::DirectoryPtr>> CachedFileSystem::open_beneath(
    source::DirectoryPtr directory, std::string name) {
  Nanos pause = kDescriptorPauseMin;
  for (int left = kDescriptorTriesMax;; pause *= 2) {
    source::Outcome<source::DirectoryPtr> opening = source_.open_directory({directory, name});
    const Result<source::DirectoryPtr> opened = co_await std::move(opening);
    if (opened || !opened.error().is(Code::kNoDescriptors) || --left == 0) co_return opened;
    co_await io::Reactor::current()->sleep(pause);
  }
}

io::Task<Result<source::DirectoryPtr>> CachedFileSystem::directory_at(NodePtr node) {
  if (auto directory = find_directory(*node)) co_return directory;
  std::vector<std::pair<NodePtr, Name>> way;  // down to it, from the last to the first
  source::DirectoryPtr directory;
  for (NodePtr at = node; !directory; directory = find_directory(*at)) {
    Name name = first_name(*at);
    if (!name.parent) co_return fail(Code::kStale, "no known name");
    const NodePtr above = name.parent;
    way.emplace_back(at, std::move(name));
    at = above;
  }
  for (; !way.empty(); way.pop_back()) {
    auto& [next, name] = way.back();
    io::Task<Result<source::DirectoryPtr>> opening = open_beneath(directory, name.name);
    const Result<source::DirectoryPtr> opened = co_await std::move(opening);
    if (!opened) co_return fail(disproved(Asked::kUse, opened.error(), {name}));
    directory = *opened;
    directories_.add(next->id(), directory);
  }
  co_return directory;
}

source::DirectoryPtr CachedFileSystem::find_directory(Node& node) {
  return node.id() == kRootNode ? source_.root() : directories_.find(node.id());
}

io::Task<Result<source::Place>> CachedFileSystem::place_in(NodePtr parent, std::string name) {
  if (name.size() > NAME_MAX) co_return fail(static_cast<Code>(ENAMETOOLONG));
  io::Task<Result<source::DirectoryPtr>> opening = directory_at(std::move(parent));
  CO_TRY_ASSIGN(source::DirectoryPtr directory, co_await std::move(opening));
  co_return source::Place{std::move(directory), std::move(name)};
}

io::Task<Result<source::Place>> CachedFileSystem::place_of(NodePtr node) {
  if (node->id() == kRootNode) co_return source::Place{source_.root(), {}};
  Name name = first_name(*node);
  if (!name.parent) co_return fail(Code::kStale, "no known name");
  io::Task<Result<source::Place>> placing = place_in(std::move(name.parent), std::move(name.name));
  co_return co_await std::move(placing);
}

}  // namespace larder::fs
