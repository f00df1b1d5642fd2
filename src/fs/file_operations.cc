// CachedFileSystem: what is done on open handles, and changes of attributes.

#include <fcntl.h>
#include <linux/falloc.h>

#include <algorithm>

#include "base/log.h"
#include "fs/open_file.h"

namespace larder::fs {
namespace {

// A file that changes on the source as fast as it is read is given up after so many tries.
constexpr int kStaleReadsMax = 4;

}  // namespace

io::Task<void> CachedFileSystem::prefetch_task(std::shared_ptr<Node> node,
                                               cache::Readahead::Range range) {
  node->file().prefetch(range.offset, range.length);
  co_return;
}

void CachedFileSystem::record_read(const OpenFile& open, uint64_t offset, size_t length) {
  if (!recorder_.wants(AccessRecorder::What::kBlocks)) [[likely]]
    return;
  recorder_.note_read({.node = open.node->id(),
                       .offset = offset,
                       .length = length,
                       .file_size_bytes = open.file.size_bytes(),
                       .block_bytes = open.file.block_bytes()});
}

// An answer that ends early while the kernel may believe in a larger file; see CutFiles.
bool CachedFileSystem::may_be_misread(const OpenFile& open, uint64_t offset, size_t length,
                                      const ReadReply& reply) const {
  if (cut_files_.empty() || open.mode != OpenMode::kCached || (open.flags & O_DIRECT) != 0)
    return false;
  // What would not be asked for again, whoever reads it.
  if (length <= PartialWrites::kPageBytes && may_be_incomplete(open, offset)) return false;
  size_t total = 0;
  for (const ReadSlice& slice : reply.slices) total += slice.length;
  return total < length;
}

// The kernel asks for it again as soon as it has the answer.
io::Task<Error> CachedFileSystem::refuse(NodeId node) {
  if (cut_files_.is_being_told(node)) co_await io::Reactor::current()->sleep(CutFiles::kToldTime);
  co_return Error(Code::kIo, "cut elsewhere");
}

bool CachedFileSystem::may_be_incomplete(const OpenFile& open, uint64_t offset) {
  if (!open.node->has_partial_writes_.load(std::memory_order_acquire)) return false;
  MutexLock lock(open.node->mutex_);
  return open.node->partial_writes_->may_have(open.epoch, offset);
}

void CachedFileSystem::note_write(const OpenFile& open, uint64_t offset, uint64_t length) {
  if (open.mode != OpenMode::kCached || (open.flags & O_DIRECT) != 0) return;  // it has no pages
  Node& node = *open.node;
  MutexLock lock(node.mutex_);
  if (!node.partial_writes_) node.partial_writes_ = std::make_unique<PartialWrites>();
  node.partial_writes_->written(open.epoch, offset, length);
  node.has_partial_writes_.store(true, std::memory_order_release);
}

void CachedFileSystem::note_read(const OpenFile& open, uint64_t offset, uint64_t length) {
  Node& node = *open.node;
  if (!node.has_partial_writes_.load(std::memory_order_acquire)) return;
  MutexLock lock(node.mutex_);
  node.partial_writes_->read(open.epoch, offset, length);
}

bool CachedFileSystem::read_hit(uint64_t handle, uint64_t offset, size_t length, ReadReply& reply) {
  reply.clear();
  OpenFile& open = file_of(handle);
  if (open.past_cache) return false;
  Timed timed(env_.metrics.hit_latency, env_.clock);
  bool resident = false;
  // Looked at after the bytes: until it is parted they are its own.
  if (!open.file.read_hit(offset, length, reply.slices, &resident) ||
      (open.file.has_parted() && open.incarnation->is_parted())) {
    reply.clear();
    timed.cancel();
    return false;
  }
  if (may_be_misread(open, offset, length, reply)) {  // read() says so
    timed.cancel();
    reply.clear();
    return false;
  }
  record_read(open, offset, length);
  note_read(open, offset, length);
  if (!resident) {
    cache::Readahead::Range range;
    {
      MutexLock lock(open.mutex);
      range = open.readahead.on_read(offset, length, env_.options.readahead_max_bytes);
    }
    if (range.length != 0)
      home(KernelId{open.node->id().value}).spawn(prefetch_task(open.node, range));
  }
  return true;
}

io::Task<Result<ReadReply>> CachedFileSystem::read(uint64_t handle, uint64_t offset,
                                                   size_t length) {
  OpenFile& open = file_of(handle);
  const NodePtr node = open.node;
  cache::CachedFile& file = node->file();
  const Nanos start = now();
  io::AsyncMutex::Guard unchanged;  // after a failure changes made here wait for this reader
  for (int attempt = 0;; ++attempt) {
    if (open.past_cache || file.size_is_made_up()) {
      io::Task<Result<ReadReply>> reading = read_past_cache(node, offset, length);
      co_return co_await std::move(reading);
    }
    ReadReply reply;
    if (open.incarnation->is_parted()) {
      io::Task<Result<ReadReply>> reading = read_parted(&open, offset, length);
      CO_TRY_ASSIGN(ReadReply read, co_await std::move(reading));
      if (may_be_misread(open, offset, length, read) &&
          cut_files_.refuses(node->id(), offset, length, now())) {
        io::Task<Error> refusing = refuse(node->id());
        co_return fail(co_await std::move(refusing));
      }
      co_return read;
    }
    if (!file.resident()) {
      cache::Readahead::Range range;
      {
        MutexLock lock(open.mutex);
        range = open.readahead.on_read(offset, length, env_.options.readahead_max_bytes);
      }
      // What is wanted now goes first, what will be wanted after it.
      file.prefetch(offset, length);
      if (range.length != 0) file.prefetch(range.offset, range.length);
    }
    io::Task<Result<bool>> reading = file.read(offset, length, &reply.slices);
    const Result<bool> done = co_await std::move(reading);
    if (!done && file.take_doubt()) invalidate_kernel(*node, std::nullopt);
    if (open.incarnation->is_parted()) continue;
    if (done) {
      (*done ? env_.metrics.miss_latency : env_.metrics.hit_latency).record(now() - start);
      record_read(open, offset, length);
      if (may_be_misread(open, offset, length, reply) &&
          cut_files_.refuses(node->id(), offset, length, now())) {
        io::Task<Error> refusing = refuse(node->id());
        co_return fail(co_await std::move(refusing));
      }
      note_read(open, offset, length);
      co_return reply;
    }
    if (!is_gone(done.error())) co_return fail(done.error());
    if (attempt == kStaleReadsMax) co_return fail(Code::kIo, "changes faster than it can be read");
    if (attempt == 0) unchanged = co_await node->changing().lock();
    io::Task<Result<void>> refreshing = refresh_open(node);
    const Result<void> refreshed = co_await std::move(refreshing);
    if (!refreshed && is_gone(refreshed.error()))
      co_return fail(Code::kIo, "neither cached nor on the source any more");
    CO_TRY(refreshed);
  }
}

io::Task<Result<size_t>> CachedFileSystem::write(uint64_t handle, buffer::BufferRef data,
                                                 uint64_t offset, int flags) {
  const bool append = (flags & O_APPEND) != 0;
  OpenFile& open = file_of(handle);
  if (!open.source) co_return fail(static_cast<Code>(EBADF));
  const NodePtr node = open.node;
  io::AsyncMutex::Guard changing = co_await node->changing().lock();
  open.will_write();
  note_write(open, offset, data.size());  // also when it fails, or the file is parted
  io::Task<void> looking = look_before_change(node, open.source);
  co_await std::move(looking);
  expire(*node);
  const size_t length = data.size();
  io::Task<Result<std::shared_ptr<source::SourceFile>>> choosing = writer_of(&open, append);
  CO_TRY_ASSIGN(const auto by, co_await std::move(choosing));
  using Place = cache::CachedFile::Place;
  const Place place = !append             ? Place::kOffset
                      : appends_by_open() ? Place::kUnprovenEnd
                                          : Place::kEnd;
  io::Task<Result<uint64_t>> writing =
      node->file().write(by, data, offset, place, open.incarnation);
  const Result<uint64_t> written = co_await std::move(writing);
  if (!written && open.incarnation->is_parted()) {
    io::Task<Result<size_t>> parted = write_parted(&open, std::move(data), offset, append);
    co_return co_await std::move(parted);
  }
  if (!written) {
    io::Task<void> taking = take_back(node, by, written.error());
    co_await std::move(taking);
  }
  expire(*node);
  // The kernel inode written through has the bytes, if they are where it thinks; others of the node
  // do not.
  const bool as_expected = written && *written == offset;
  if ((flags & O_DIRECT) != 0) note_direct_write(*node, open.epoch);
  invalidate_kernel(*node, as_expected ? std::optional(open.epoch) : std::nullopt);
  look_after_change(*node);
  if (!written) co_return fail(written.error());
  io::Task<void> showing = show_to_parted(node, *written, *written + length);
  co_await std::move(showing);
  changing.unlock();
  if (is_read_elsewhere(*node, open.epoch)) {
    io::Task<void> dropping = await_others_dropped(node, open.epoch);
    co_await std::move(dropping);
  }
  co_return length;
}

// Before the kernel has the answer: what it reads from then on is new.  Its pages cannot be dropped
// here, as a write that goes through them holds them until it is answered.
void CachedFileSystem::note_direct_write(Node& node, uint64_t epoch) {
  MutexLock lock(node.mutex_);
  if (KernelInode* inode = node.find_kernel_inode(epoch)) inode->has_old_pages = true;
}

// Changing the flag of an open file does not tell a daemon behind it.
io::Task<Result<std::shared_ptr<source::SourceFile>>> CachedFileSystem::writer_of(OpenFile* open,
                                                                                  bool append) {
  if (append == open->source_appends || !appends_by_open()) co_return open->source;
  if (open->other) co_return open->other;
  const uint64_t asked_at = changes().tick();
  const int flags = (open->flags & O_ACCMODE) | (append ? O_APPEND : 0);
  source::Outcome<source::Opened> opening = open->source->reopen(flags);
  CO_TRY_ASSIGN(source::Opened opened, co_await std::move(opening));
  // By its name, where that is all there is: what it leads to must be the file still.
  if (open->incarnation->is_parted()) co_return fail(Code::kStale, "replaced outside");
  apply(*open->node, opened.attributes, asked_at);
  if (open->incarnation->is_parted()) co_return fail(Code::kStale, "replaced outside");
  open->incarnation->add(opened.file, false);
  co_return open->other = std::move(opened.file);
}

io::Task<Result<void>> CachedFileSystem::sync(uint64_t handle, bool data_only) {
  OpenFile& open = file_of(handle);
  // Of the file, whoever wrote it: also through a handle that cannot write.
  const NodePtr node = open.node;
  for (int attempt = 0;; ++attempt) {
    io::Task<Result<std::shared_ptr<source::SourceFile>>> opening = source_of(&open);
    const Result<std::shared_ptr<source::SourceFile>> opened = co_await std::move(opening);
    if (opened) {
      io::Task<Result<void>> syncing = sync_by(&open, *opened, data_only);
      co_return co_await std::move(syncing);
    }
    if (open.incarnation->is_parted()) co_return Result<void>();  // nothing was written through it
    // Without a name and not held open, it is no more on the source: there is nothing to sync.
    if (!has_name(*node)) co_return Result<void>();
    if (!opened.error().is(Code::kStale) || attempt == kStaleReadsMax)
      co_return fail(opened.error());
    io::Task<Result<void>> refreshing = refresh(node);
    const Result<void> refreshed = co_await std::move(refreshing);
    // Replaced outside, and nothing was written through this handle: the same.
    if (!refreshed && is_gone(refreshed.error())) co_return Result<void>();
    CO_TRY(refreshed);
  }
}

io::Task<Result<std::shared_ptr<source::SourceFile>>> CachedFileSystem::source_of(OpenFile* open) {
  if (open->source) co_return open->source;
  if (open->incarnation->is_parted()) {
    if (auto by = open->incarnation->reader()) co_return by;
    co_return fail(Code::kStale, "replaced outside");
  }
  io::Task<Result<std::shared_ptr<source::SourceFile>>> opening = open->node->file().reader();
  co_return co_await std::move(opening);
}

io::Task<Result<void>> CachedFileSystem::allocate(uint64_t handle, int mode, uint64_t offset,
                                                  uint64_t length) {
  OpenFile& open = file_of(handle);
  if (!open.source) co_return fail(static_cast<Code>(EBADF));
  const NodePtr node = open.node;
  cache::CachedFile& file = node->file();
  io::AsyncMutex::Guard changing = co_await node->changing().lock();
  open.will_write();
  io::Task<void> looking = look_before_change(node, open.source);
  co_await std::move(looking);
  expire(*node);
  // Collapsing and inserting ranges move everything behind them.
  const bool moves = (mode & (FALLOC_FL_COLLAPSE_RANGE | FALLOC_FL_INSERT_RANGE)) != 0;
  const uint64_t changed = moves ? UINT64_MAX : length;
  io::Task<bool> beginning = file.begin_change_of(open.incarnation, offset, changed);
  if (!co_await std::move(beginning)) {
    io::Task<Result<void>> parted = allocate_parted(&open, mode, offset, length);
    co_return co_await std::move(parted);
  }
  source::Outcome<void> allocating = open.source->allocate(mode, offset, length);
  const Result<void> allocated = co_await std::move(allocating);
  std::optional<uint64_t> new_size;
  if (allocated && moves) {
    source::Outcome<Attributes> asking = open.source->attributes();
    if (const auto now = co_await std::move(asking)) new_size = now->size_bytes;
  } else if (allocated && (mode & FALLOC_FL_KEEP_SIZE) == 0 &&
             offset + length > file.size_bytes()) {
    new_size = offset + length;
  }
  const bool zeros = (mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)) != 0;
  const bool reserves = (mode & ~FALLOC_FL_KEEP_SIZE) == 0;  // leaves the content as it is
  if (!allocated) {
    io::Task<void> ending = file.end_failed_change(open.source, offset, changed);
    co_await std::move(ending);
  } else if (zeros) {
    file.end_zeros(offset, length, new_size);
  } else if (reserves) {
    file.end_truncate(new_size.value_or(file.size_bytes()));
  } else {
    file.end_change(offset, changed, new_size);
    io::Task<void> refilling = file.refill_exposed(offset, changed);
    co_await std::move(refilling);
  }
  expire(*node);
  invalidate_kernel(*node, moves ? std::nullopt : std::optional(open.epoch));
  look_after_change(*node);
  io::Task<void> showing = show_to_parted(node, offset, UINT64_MAX);
  co_await std::move(showing);
  changing.unlock();
  io::Task<void> dropping = await_others_dropped(node, open.epoch);
  co_await std::move(dropping);
  co_return allocated;
}

io::Task<Result<uint64_t>> CachedFileSystem::seek(uint64_t handle, uint64_t offset, int whence) {
  OpenFile& open = file_of(handle);
  io::Task<Result<std::shared_ptr<source::SourceFile>>> opening = source_of(&open);
  CO_TRY_ASSIGN(const std::shared_ptr<source::SourceFile> source, co_await std::move(opening));
  source::Outcome<uint64_t> seeking = source->seek(offset, whence);
  co_return co_await std::move(seeking);
}

io::Task<Result<size_t>> CachedFileSystem::copy_range(uint64_t handle, uint64_t offset,
                                                      uint64_t to_handle, uint64_t to_offset,
                                                      size_t length) {
  OpenFile& from = file_of(handle);
  OpenFile& to = file_of(to_handle);
  if (!to.source) co_return fail(static_cast<Code>(EBADF));
  io::Task<Result<std::shared_ptr<source::SourceFile>>> opening = source_of(&from);
  CO_TRY_ASSIGN(const std::shared_ptr<source::SourceFile> source, co_await std::move(opening));
  const NodePtr node = to.node;
  cache::CachedFile& file = node->file();
  io::AsyncMutex::Guard changing = co_await node->changing().lock();
  to.will_write();
  io::Task<void> looking = look_before_change(node, to.source);
  co_await std::move(looking);
  expire(*node);
  io::Task<bool> beginning = file.begin_change_of(to.incarnation, to_offset, length);
  const bool is_parted = !co_await std::move(beginning);
  source::Outcome<size_t> copying = source->copy_range(offset, to.source, to_offset, length);
  const Result<size_t> copied = co_await std::move(copying);
  if (is_parted) {
    expire(*node);
    io::Task<void> showing = show_to_parted(node, to_offset, UINT64_MAX);
    co_await std::move(showing);
    invalidate_parted(to);
    co_return copied;
  }
  if (copied) {
    std::optional<uint64_t> new_size;
    if (to_offset + *copied > file.size_bytes()) new_size = to_offset + *copied;
    file.end_change(to_offset, length, new_size);
    io::Task<void> refilling = file.refill_exposed(to_offset, length);
    co_await std::move(refilling);
  } else {
    io::Task<void> ending = file.end_failed_change(to.source, to_offset, length);
    co_await std::move(ending);
  }
  expire(*node);
  invalidate_kernel(*node, to.epoch);
  look_after_change(*node);
  io::Task<void> showing = show_to_parted(node, to_offset, UINT64_MAX);
  co_await std::move(showing);
  changing.unlock();
  io::Task<void> dropping = await_others_dropped(node, to.epoch);
  co_await std::move(dropping);
  co_return copied;
}

// A directory or a special file without a name is not on the source any more, though a program may
// have it open: what is known here is all there is of it.
std::optional<AttributesReply> CachedFileSystem::change_nameless(Node& node,
                                                                 const AttributeChange& change) {
  const Timestamp wall = Timestamp::of(env_.clock.wall());
  {
    MutexLock lock(node.mutex_);
    Attributes& attributes = node.attributes_;
    if (!node.deleted_ || S_ISREG(attributes.mode)) return std::nullopt;
    if (change.permissions)
      attributes.mode = (attributes.mode & S_IFMT) | (*change.permissions & 07777);
    if (change.uid) attributes.uid = *change.uid;
    if (change.gid) attributes.gid = *change.gid;
    FileTimes& times = attributes.times;
    if (change.atime || change.atime_now) times.atime = change.atime.value_or(wall);
    if (change.mtime || change.mtime_now) times.mtime = change.mtime.value_or(wall);
    times.ctime = wall;
  }
  const NodeReply reply = describe(node);
  return AttributesReply{reply.attributes, reply.attributes_ttl};
}

io::Task<Result<AttributesReply>> CachedFileSystem::set_attributes(KernelId id,
                                                                   AttributeChange change,
                                                                   uint64_t handle) {
  CO_TRY_ASSIGN(const NodePtr node, this->node(id));
  if (auto of = parted(*node, id)) {
    io::Task<Result<AttributesReply>> setting =
        set_parted_attributes(node, std::move(of), change, handle);
    co_return co_await std::move(setting);
  }
  std::shared_ptr<source::SourceFile> through;
  if (handle != 0) through = file_of(handle).source;
  if (!through) {
    io::Task<Result<std::shared_ptr<source::SourceFile>>> opening = opened(node, id);
    CO_TRY_ASSIGN(through, co_await std::move(opening));
  }
  if (!through && !has_name(*node) && !find_directory(*node)) {
    // Unlinked, still open, changed through a read-only handle or by path of a descriptor.
    through = held_source(*node);
    if (!through) {
      if (const auto changed = change_nameless(*node, change)) co_return *changed;
      co_return fail(Code::kStale, "no known name");
    }
  }
  io::AsyncMutex::Guard changing = co_await node->changing().lock();
  cache::CachedFile* file = node->is_regular() ? &node->file() : nullptr;
  const bool sets_mtime = change.mtime || change.mtime_now;
  const auto new_size = change.size_bytes;
  // That the file was changed outside would be hidden: look before.
  if (file != nullptr && new_size && !sets_mtime && through) {
    io::Task<void> looking = look_before_change(node, through);
    co_await std::move(looking);
  } else if (file != nullptr && (sets_mtime || (new_size && is_watching())) && !file->empty()) {
    io::Task<Result<void>> looking =
        through ? refresh_open(node) : refresh(node, source::Wait::kForAnswer);
    CO_TRY(co_await std::move(looking));
  }
  expire(*node);
  const uint64_t from = new_size && file ? std::min(*new_size, file->size_bytes()) : 0;
  if (file != nullptr && new_size) {
    io::Task<void> beginning = file->begin_change(from, UINT64_MAX);
    co_await std::move(beginning);
  }
  io::Task<Result<Attributes>> setting =
      through ? through->set_attributes(change)
              : ask_at<Attributes>(node, [this, change](source::Place place) {
                  return source_.set_attributes(std::move(place), change);
                });
  const Result<Attributes> set = co_await std::move(setting);
  if (file != nullptr && new_size) {
    if (set)
      file->end_truncate(*new_size);
    else
      file->end_change(from, UINT64_MAX, std::nullopt);
    invalidate_kernel(*node, id.epoch());
    io::Task<void> showing = show_to_parted(node, *new_size, UINT64_MAX);
    co_await std::move(showing);
    bool unused = false;
    {
      MutexLock lock(node->mutex_);
      unused = node->handles_ == 0;
    }
    if (unused) file->idle();
  } else if (file != nullptr) {
    if (sets_mtime)
      file->expect_mtime_change();
    else
      file->expect_ctime_change();
  }
  expire(*node);
  if (!set) co_return fail(disproved(Asked::kUse, set.error(), {first_name(*node)}));
  if (handle != 0 && new_size && file_of(handle).source) file_of(handle).will_write();
  apply(*node, *set, changes().tick());
  // The kernel may not be waiting for this answer, but for that of a change that comes after it.
  if (change.cleared_permissions != 0) kernel_->invalidate_attributes(id);
  if (new_size && is_read_elsewhere(*node, id.epoch())) {
    changing.unlock();
    io::Task<void> dropping = await_others_dropped(node, id.epoch());
    co_await std::move(dropping);
  }
  const NodeReply reply = describe(*node);
  co_return AttributesReply{reply.attributes, reply.attributes_ttl};
}

}  // namespace larder::fs
