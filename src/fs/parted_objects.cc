// CachedFileSystem: objects that the kernel reads by itself for handles which were parted from
// their node (cache/incarnation.h).  Such an object takes on what the file that was opened is now,
// read through a descriptor that was opened before the name was seen to lead elsewhere: of a file
// that was replaced that is what the object has, of one that was changed in place the new bytes.
//
// The watch over open files comes here each time it has asked about the name.  What the name shows
// tells when all of the file is to be compared; else it may have grown, which one read tells.

#include <algorithm>
#include <cstring>

#include "base/log.h"
#include "fs/cached_file_system.h"

namespace larder::fs {
namespace {

constexpr size_t kStepBytes = 128 << 10;
constexpr uint64_t kDiskBlockBytes = 4096;

uint64_t disk_bytes(uint64_t size_bytes) {
  return (size_bytes + kDiskBlockBytes - 1) / kDiskBlockBytes * kDiskBlockBytes;
}

}  // namespace

// The incarnations whose object the kernel reads for this node, with one kernel inode each.
std::vector<CachedFileSystem::PartedObject> CachedFileSystem::parted_objects(Node& node) {
  std::vector<PartedObject> found;
  MutexLock lock(node.mutex_);
  for (const KernelInode& inode : node.kernel_inodes_)
    if (inode.passthrough_opens > 0 && inode.is_parted())
      found.push_back({KernelId::make(node.id().value, inode.epoch), inode.incarnation});
  return found;
}

io::Task<void> CachedFileSystem::catch_up(NodePtr node) {
  Validator seen;
  {
    MutexLock lock(node->mutex_);
    seen = source_.validator(node->attributes_);
  }
  for (const PartedObject& parted : parted_objects(*node)) {
    const bool may_differ = parted.incarnation->take_version(seen);
    io::AsyncMutex::Guard alone = co_await parted.incarnation->catching_up().lock();
    const uint64_t bytes = parted.incarnation->copy().size_bytes;
    io::Task<Result<void>> taking = take_on(parted, may_differ ? 0 : bytes, UINT64_MAX);
    if (const Result<void> taken = co_await std::move(taking); !taken) {
      log::debug("a file that its name leads to no more cannot be read again: {}",
                 taken.error().message());
      parted.incarnation->take_version({});  // all of it is compared at the next turn
    }
  }
}

// What was changed here between `offset` and `end`, or behind the objects' ends, is seen at once
// also by those for whom the kernel reads a parted object.
io::Task<void> CachedFileSystem::show_to_parted(NodePtr node, uint64_t offset, uint64_t end) {
  for (const PartedObject& parted : parted_objects(*node)) {
    io::AsyncMutex::Guard alone = co_await parted.incarnation->catching_up().lock();
    const uint64_t from = std::min(offset, parted.incarnation->copy().size_bytes);
    io::Task<Result<void>> taking = take_on(parted, from, end);
    if (const Result<void> taken = co_await std::move(taking); !taken)
      log::debug("readers do not see what was written: {}", taken.error().message());
  }
}

// Brings [offset, end) of the file into the object, and what the file has behind the object's end.
io::Task<Result<void>> CachedFileSystem::take_on(PartedObject parted, uint64_t offset,
                                                 uint64_t end) {
  const std::shared_ptr<source::SourceFile> from = parted.incarnation->readable();
  const cache::Incarnation::Copy copy = parted.incarnation->copy();
  if (!from || !copy.object) co_return fail(Code::kNotFound, "nothing to read it by");
  const buffer::BufferRef theirs = env_.pool.allocate(kStepBytes);
  const buffer::BufferRef ours = env_.pool.allocate(kStepBytes);
  if (!theirs || !ours) co_return fail(Code::kLimit, "buffers");
  io::Reactor& reactor = *io::Reactor::current();
  uint64_t size_bytes = copy.size_bytes;
  while (offset < end) {
    source::Outcome<size_t> reading = from->read(theirs, kStepBytes, offset);
    CO_TRY_ASSIGN(const size_t length, co_await std::move(reading));
    if (length == 0) break;
    const std::span<const std::byte> bytes = theirs.bytes().first(length);
    io::Task<Result<size_t>> comparing =
        reactor.read(*copy.object, ours.bytes().first(length), offset);
    CO_TRY_ASSIGN(const size_t known, co_await std::move(comparing));
    if (known < length || std::memcmp(bytes.data(), ours.bytes().data(), length) != 0) {
      io::Task<Result<void>> writing = reactor.write(*copy.object, bytes, offset);
      CO_TRY(co_await std::move(writing));
    }
    offset += length;
    if (offset > size_bytes) {
      if (copy.room) copy.room->grown(disk_bytes(offset) - disk_bytes(size_bytes));
      size_bytes = offset;
      parted.incarnation->resized(size_bytes);
    }
  }
  if (end == UINT64_MAX && offset < size_bytes) {
    // It ends sooner: only where the file's size says so, too, which a bad moment of the source
    // does not change.
    source::Outcome<Attributes> asking = from->attributes();
    CO_TRY_ASSIGN(const Attributes now, co_await std::move(asking));
    if (now.size_bytes == offset) {
      CO_TRY(copy.object->truncate(offset));
      size_bytes = offset;
      parted.incarnation->resized(size_bytes);
    }
  }
  if (size_bytes != copy.size_bytes) kernel_->invalidate_attributes(parted.id);
  co_return Result<void>();
}

}  // namespace larder::fs
