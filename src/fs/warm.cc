// CachedFileSystem: loading a file by its path, for the warmer.

#include <fmt/format.h>

#include "fs/cached_file_system.h"

namespace larder::fs {

io::Task<Result<CachedFileSystem::Warmed>> CachedFileSystem::warm(
    std::string path, std::shared_ptr<cache::FetchWatch> watch) {
  NodePtr node = root_;
  for (size_t at = 0; at < path.size();) {
    const size_t slash = std::min(path.find('/', at), path.size());
    std::string name = path.substr(at, slash - at);
    at = slash + 1;
    if (name.empty() || name == ".") continue;
    if (name == "..") co_return fail(Code::kInvalid, "\"..\" in a path to warm");
    if (!node->is_directory()) co_return Warmed{WarmOutcome::kMissing, 0, false, {}};
    io::Task<Result<NodePtr>> resolving = resolve(node, std::move(name));
    CO_TRY_ASSIGN(NodePtr child, co_await std::move(resolving));
    if (!child) co_return Warmed{WarmOutcome::kMissing, 0, false, {}};
    node = std::move(child);
  }
  Warmed warmed;
  if (node->is_directory()) {
    warmed.outcome = WarmOutcome::kSkipped;
    warmed.is_directory = true;
    io::Task<Result<uint64_t>> opening = open_directory(KernelId{node->id().value});
    CO_TRY_ASSIGN(const uint64_t handle, co_await std::move(opening));
    io::Task<Result<std::vector<std::string>>> listing = child_names(handle);
    Result<std::vector<std::string>> names = co_await std::move(listing);
    release_directory(handle);
    if (!names) co_return fail(names.error());
    warmed.children = std::move(*names);
    co_return warmed;
  }
  if (!node->is_regular()) {
    warmed.outcome = WarmOutcome::kSkipped;
    co_return warmed;
  }
  Opening opening;
  opening.opener = kNoOpener;
  io::Task<Result<std::shared_ptr<source::SourceFile>>> revalidating =
      revalidate_for_reading(node, opening);
  CO_TRY_ASSIGN(std::shared_ptr<source::SourceFile> source, co_await std::move(revalidating));
  if (source) node->file().offer_source(std::move(source));
  io::Task<void> looking = look_into_size(node);
  co_await std::move(looking);
  if (size_is_made_up(node->file())) {
    warmed.outcome = WarmOutcome::kSkipped;
    co_return warmed;
  }
  const uint64_t size_bytes = node->file().size_bytes();
  if (!env_.residents.could_fit(size_bytes))
    co_return fail(Code::kLimit,
                   fmt::format("{} bytes are more than the cache may hold (size=)", size_bytes));
  io::Task<Result<void>> fetching = node->file().fetch_all(std::move(watch));
  CO_TRY(co_await std::move(fetching));
  warmed.bytes = node->file().size_bytes();
  bool unused = false;
  {
    MutexLock lock(node->mutex_);
    unused = node->handles_ == 0;
  }
  if (unused) node->file().idle();
  co_return warmed;
}

}  // namespace larder::fs
