// CachedFileSystem: files whose sizes are made up.
//
// Kernels and their like (sysfs, proc, cgroup, lxcfs) give a file a size of 4096 or 0, whatever is
// in it.  The kernel must not go by that: such a file is opened with direct I/O, and each read of
// it is one of the source's.  Where the source itself does not say so, a file that has a size and
// takes no room is looked into before it is opened; others are found out when they are read
// (cache/early_end.h).

#include "fs/open_file.h"

namespace larder::fs {
namespace {

// The attributes, a fresh descriptor, and once more beside a change.
constexpr int kLooksMax = 3;

}  // namespace

bool CachedFileSystem::size_is_made_up(const cache::CachedFile& file) const {
  return source_.makes_up_sizes() || file.size_is_made_up();
}

io::Task<void> CachedFileSystem::look_into_size(NodePtr node) {
  Attributes attributes;
  {
    MutexLock lock(node->mutex_);
    attributes = node->attributes_;
  }
  if (attributes.size_bytes == 0 || attributes.blocks_512 != 0) co_return;
  cache::CachedFile& file = node->file();
  for (int look = 0; look < kLooksMax && !size_is_made_up(file); ++look) {
    std::vector<cache::Slice> ignored;
    io::Task<Result<bool>> reading = file.read(0, 1, &ignored);
    const Result<bool> read = co_await std::move(reading);
    if (read || !read.error().is(Code::kStale)) co_return;  // whoever reads it will be told
    io::Task<Result<void>> refreshing = refresh(node);
    const Result<void> refreshed = co_await std::move(refreshing);
    if (!refreshed) co_return;
  }
}

io::Task<Result<ReadReply>> CachedFileSystem::read_past_cache(NodePtr node, uint64_t offset,
                                                              size_t length) {
  ReadReply reply;
  io::Task<Result<void>> reading = node->file().read_past_cache(offset, length, &reply.slices);
  if (const Result<void> read = co_await std::move(reading); !read) {
    node->file().warn_of_source(read.error());
    co_return fail(read.error());
  }
  co_return reply;
}

}  // namespace larder::fs
