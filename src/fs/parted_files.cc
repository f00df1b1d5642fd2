// CachedFileSystem: what is done on handles whose incarnation was parted from their node
// (cache/incarnation.h): through their own descriptors and past the object.  Nothing that is seen
// so is the node's, and nothing of it is kept.

#include <fcntl.h>

#include <algorithm>

#include "base/log.h"
#include "cache/buffers_in_time.h"
#include "fs/open_file.h"

namespace larder::fs {
// What is read of a file that is open for reading alone goes through the descriptor that all its
// readers share.  A resident file is opened without one; should the name lead to another file, or
// nowhere, there would be nothing left to read and to describe the old one by.
io::Task<void> CachedFileSystem::keep_reader(std::weak_ptr<Node> opened_node,
                                             std::shared_ptr<cache::Incarnation> incarnation) {
  co_await io::Reactor::current()->sleep(kKeepOpenAfter);
  incarnation->reader_comes();
  const NodePtr node = opened_node.lock();
  // It is not worth a descriptor that somebody cannot do without.
  if (!node || !node->fs_.env_.open_files.may_hold()) co_return;
  const auto is_open = [&] {
    MutexLock lock(node->mutex_);
    return node->handles_ > 0;
  };
  if (!is_open()) co_return;
  io::Task<Result<std::shared_ptr<source::SourceFile>>> opening = node->file().reader();
  const auto opened = co_await std::move(opening);
  if (!opened) log::debug("an open file has no descriptor: {}", opened.error().message());
  if (!is_open()) node->file().idle();
}

void CachedFileSystem::want_reader(const NodePtr& node, const OpenFile& open) {
  if (!coherence_.revalidate_at_open || open.source || open.file.source_file()) return;
  if (open.incarnation->wants_reader())
    home(KernelId{node->id().value}).spawn(keep_reader(node, open.incarnation));
}

std::shared_ptr<cache::Incarnation> CachedFileSystem::parted(Node& node, KernelId id) {
  MutexLock lock(node.mutex_);
  const KernelInode* inode = node.find_kernel_inode(id.epoch());
  if (inode == nullptr || !inode->is_parted()) return nullptr;
  return inode->incarnation;
}

// By whatever the node's file is open, for changes that may not go by its name: that may lead to
// another file by now.  Null: nobody has it open, or the source does not let it be opened.
io::Task<Result<std::shared_ptr<source::SourceFile>>> CachedFileSystem::opened(NodePtr node,
                                                                               KernelId id) {
  std::shared_ptr<cache::Incarnation> incarnation;
  {
    MutexLock lock(node->mutex_);
    if (node->handles_ == 0 || !S_ISREG(node->attributes_.mode)) co_return nullptr;
    if (const KernelInode* inode = node->find_kernel_inode(id.epoch()))
      incarnation = inode->incarnation;
  }
  cache::CachedFile& file = node->file();
  if (!incarnation) incarnation = file.incarnation();
  if (auto by = incarnation->any()) co_return by;
  if (incarnation->is_parted()) co_return fail(Code::kStale, "replaced outside");
  if (auto by = file.source_file()) co_return by;
  if (!path_of(*node)) co_return nullptr;
  io::Task<Result<std::shared_ptr<source::SourceFile>>> opening = file.reader();
  auto by = co_await std::move(opening);
  if (!by && by.error().is(static_cast<Code>(EACCES))) co_return nullptr;
  if (!by && is_gone(by.error())) co_return fail(Code::kStale, "replaced outside");
  co_return by;
}

std::shared_ptr<source::SourceFile> CachedFileSystem::parted_reader(const OpenFile& open) {
  if (open.source && (open.flags & O_ACCMODE) == O_RDWR) return open.source;
  return open.incarnation->readable();
}

io::Task<Result<ReadReply>> CachedFileSystem::read_parted(OpenFile* open, uint64_t offset,
                                                          size_t length) {
  ReadReply reply;
  io::Task<buffer::BufferRef> allocating = cache::allocate_in_time(&env_.pool, length);
  buffer::BufferRef buffer = co_await std::move(allocating);
  if (!buffer) co_return fail(Code::kLimit, "buffers");
  Result<size_t> got = size_t{0};
  if (const auto source = parted_reader(*open)) {
    source::Outcome<size_t> reading = source->read(buffer, length, offset);
    got = co_await std::move(reading);
    if (got)
      env_.metrics.bytes_source.add(*got);
    else
      open->file.warn_of_source(got.error());
  } else {
    const cache::Incarnation::Copy copy = open->incarnation->copy();
    if (!copy.object) co_return fail(Code::kIo, "neither cached nor on the source any more");
    const uint64_t from = std::min(offset, copy.size_bytes);
    const size_t wanted = std::min<uint64_t>(length, copy.size_bytes - from);
    io::Task<Result<size_t>> reading =
        io::Reactor::current()->read(*copy.object, buffer.bytes().first(wanted), offset);
    got = co_await std::move(reading);
    if (got) env_.metrics.bytes_disk.add(*got);
  }
  if (!got) co_return fail(got.error());
  buffer.set_size(*got);
  if (*got > 0) reply.slices.push_back({std::move(buffer), 0, -1, 0, *got});
  co_return reply;
}

io::Task<Result<size_t>> CachedFileSystem::write_parted(OpenFile* open, buffer::BufferRef data,
                                                        uint64_t offset, bool append) {
  const size_t length = data.size();
  io::Task<Result<std::shared_ptr<source::SourceFile>>> choosing = writer_of(open, append);
  CO_TRY_ASSIGN(const auto source, co_await std::move(choosing));
  source::Outcome<void> writing =
      append ? source->append(std::move(data)) : source->write(std::move(data), offset);
  const Result<void> written = co_await std::move(writing);
  expire(*open->node);  // it may be the node's file after all
  io::Task<void> showing = append ? show_to_parted(open->node, UINT64_MAX, UINT64_MAX)
                                  : show_to_parted(open->node, offset, offset + length);
  co_await std::move(showing);
  if (append || !written) invalidate_parted(*open);
  if (!written) co_return fail(written.error());
  co_return length;
}

void CachedFileSystem::invalidate_parted(const OpenFile& open) {
  kernel_->invalidate_node(KernelId::make(open.node->id().value, open.epoch));
}

bool CachedFileSystem::is_read_in_passthrough(Node& node, const cache::Incarnation& incarnation) {
  return std::ranges::any_of(parted_objects(node), [&](const PartedObject& parted) {
    return parted.incarnation.get() == &incarnation && incarnation.copy().object;
  });
}

AttributesReply CachedFileSystem::describe_parted(Node& node, Attributes attributes) {
  attributes.inode = node.id().value;
  return {attributes, Nanos(0)};
}

io::Task<Result<AttributesReply>> CachedFileSystem::parted_attributes(
    NodePtr node, std::shared_ptr<cache::Incarnation> incarnation) {
  Attributes attributes = incarnation->last_known();
  if (const auto by = incarnation->any()) {
    source::Outcome<Attributes> asking = by->attributes();
    const Result<Attributes> now = co_await std::move(asking);
    if (now) attributes = *now;
  }
  // Readers of the object find so much; what there is more is on its way there.
  if (is_read_in_passthrough(*node, *incarnation))
    if (const auto object = incarnation->copy().object->info())
      attributes.size_bytes = object->size_bytes;
  co_return describe_parted(*node, attributes);
}

io::Task<Result<AttributesReply>> CachedFileSystem::set_parted_attributes(
    NodePtr node, std::shared_ptr<cache::Incarnation> incarnation, AttributeChange change,
    uint64_t handle) {
  std::shared_ptr<source::SourceFile> by;
  if (handle != 0) by = file_of(handle).source;
  if (!by) by = incarnation->any();
  if (!by) co_return fail(Code::kStale, "replaced outside");
  source::Outcome<Attributes> setting = by->set_attributes(change);
  CO_TRY_ASSIGN(const Attributes attributes, co_await std::move(setting));
  expire(*node);
  if (change.size_bytes) {
    io::Task<void> showing = show_to_parted(node, *change.size_bytes, UINT64_MAX);
    co_await std::move(showing);
  }
  co_return describe_parted(*node, attributes);
}

io::Task<Result<void>> CachedFileSystem::allocate_parted(OpenFile* open, int mode, uint64_t offset,
                                                         uint64_t length) {
  source::Outcome<void> allocating = open->source->allocate(mode, offset, length);
  const Result<void> allocated = co_await std::move(allocating);
  expire(*open->node);
  io::Task<void> showing = show_to_parted(open->node, offset, UINT64_MAX);
  co_await std::move(showing);
  invalidate_parted(*open);
  co_return allocated;
}

}  // namespace larder::fs
