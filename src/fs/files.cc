// CachedFileSystem: opening files, and the decision how the kernel reads them.

#include <fcntl.h>

#include "base/check.h"
#include "base/log.h"
#include "fs/open_file.h"

namespace larder::fs {
namespace {

bool writes(int flags) {
  return (flags & O_ACCMODE) != O_RDONLY || (flags & O_TRUNC) != 0;
}

// A file this small is fetched at open: its first read is certain and would cost another round
// trip.
constexpr uint64_t kFetchAtOpenBytes = 256 << 10;

// An opener who was sent back comes again within this time.
constexpr Nanos kSentBackMax = std::chrono::seconds(2);

}  // namespace

std::optional<Result<OpenReply>> CachedFileSystem::open_hit(KernelId id, int flags) {
  if (writes(flags) || coherence_.revalidate_at_open) return std::nullopt;
  const NodePtr node = table_.find(NodeId{id.node()});
  if (!node || !is_fresh(*node) || !node->is_regular() || !node->file().resident())
    return std::nullopt;
  return finish_open(node, id, flags, nullptr);
}

io::Task<Result<OpenReply>> CachedFileSystem::open(KernelId id, int flags) {
  CO_TRY_ASSIGN(const NodePtr node, this->node(id));
  if (!node->is_regular()) co_return fail(Code::kInvalid);
  std::shared_ptr<source::SourceFile> source;
  if (writes(flags)) {
    {
      // Found out before the source is bothered (O_TRUNC must not be carried out twice).
      MutexLock lock(node->mutex_);
      const KernelInode* inode = node->find_kernel_inode(id.epoch());
      if (inode != nullptr && inode->passthrough_opens > 0) {
        co_return send_back(*node, id, true, 0);
      }
    }
    io::Task<Result<std::shared_ptr<source::SourceFile>>> opened = open_for_writing(node, flags);
    CO_TRY_ASSIGN(source, co_await std::move(opened));
  } else {
    io::Task<Result<void>> revalidating = revalidate_for_reading(node);
    CO_TRY(co_await std::move(revalidating));
  }
  io::AsyncMutex::Guard opening = co_await node->opening.lock();
  Result<OpenReply> reply = finish_open(node, id, flags, std::move(source));
  if (reply && !writes(flags)) {
    cache::CachedFile& file = node->file();
    const uint64_t size = file.size_bytes();
    if (size <= kFetchAtOpenBytes && !file.resident()) file.prefetch(0, size);
  }
  co_return reply;
}

// What an open answers when the name led to the node only until now: the kernel looks the name up
// again, and that look-up asks the source.
Error CachedFileSystem::look_again(Node& node, const Error& error) {
  if (!error.is(Code::kNotFound)) return error;
  expire(node);
  return Error(Code::kStale, "replaced outside");
}

io::Task<Result<std::shared_ptr<source::SourceFile>>> CachedFileSystem::open_for_writing(
    NodePtr node, int flags) {
  CO_TRY_ASSIGN(std::string path, path_of(*node));
  const bool truncates = (flags & O_TRUNC) != 0;
  cache::CachedFile& file = node->file();
  io::AsyncMutex::Guard changing;
  if (truncates) {
    changing = co_await node->changing.lock();
    expire(*node);
    io::Task<void> beginning = file.begin_change(0, UINT64_MAX);
    co_await std::move(beginning);
  }
  const uint64_t asked_at = changes().now();
  source::Outcome<source::Opened> opening = source_.open_file(path, flags & (O_ACCMODE | O_TRUNC));
  Result<source::Opened> opened = co_await std::move(opening);
  if (!opened && opened.error().is(static_cast<Code>(EPERM)) && (flags & O_APPEND) != 0) {
    // Append-only (chattr +a).
    source::Outcome<source::Opened> again =
        source_.open_file(std::move(path), flags & (O_ACCMODE | O_APPEND));
    opened = co_await std::move(again);
  }
  if (truncates) {
    if (opened)
      file.end_truncate(0);
    else
      file.end_change(0, UINT64_MAX, std::nullopt);
    expire(*node);
    invalidate_kernel(*node, std::nullopt);
  }
  if (!opened) co_return fail(look_again(*node, opened.error()));
  if (!same_file(*node, opened->attributes))
    co_return fail(look_again(*node, Error(Code::kNotFound)));
  apply(*node, opened->attributes, truncates ? changes().now() : asked_at);
  co_return std::move(opened->file);
}

// Close-to-open: what a reader gets is what the source had when it opened.
io::Task<Result<void>> CachedFileSystem::revalidate_for_reading(NodePtr node) {
  cache::CachedFile& file = node->file();
  const bool resident = file.resident();
  if (!coherence_.revalidate_at_open && is_fresh(*node)) co_return Result<void>();
  if (resident) {
    io::Task<Result<void>> refreshing = refresh(node);
    const Result<void> refreshed = co_await std::move(refreshing);
    if (refreshed) co_return Result<void>();
    if (is_outage(refreshed.error())) {
      metrics_.served_offline.add();
      co_return Result<void>();
    }
    co_return fail(look_again(*node, refreshed.error()));
  }
  // It will be read from the source: opening it there answers both questions at once.
  Result<std::string> path = path_of(*node);
  if (!path) {
    if (file.source_file()) co_return Result<void>();  // unlinked, and held
    co_return fail(path.error());
  }
  const uint64_t asked_at = changes().now();
  source::Outcome<source::Opened> opening = source_.open_file(std::move(*path), O_RDONLY);
  Result<source::Opened> opened = co_await std::move(opening);
  if (!opened) {
    if (is_outage(opened.error())) {
      metrics_.served_offline.add();  // what is there can be read
      co_return Result<void>();
    }
    co_return fail(look_again(*node, opened.error()));
  }
  if (!same_file(*node, opened->attributes))
    co_return fail(look_again(*node, Error(Code::kNotFound)));
  apply(*node, opened->attributes, asked_at);
  file.offer_source(std::move(opened->file));
  co_return Result<void>();
}

// The opener is to look the name up again and find another kernel inode.
std::unexpected<Error> CachedFileSystem::send_back(Node& node, KernelId id, bool will_be_cached,
                                                   uint64_t generation) {
  // Through another of its names he may have come to an older one than there is by now.
  const KernelInode* newest = node.find_kernel_inode(node.epoch_);
  const bool of_no_use = newest != nullptr && newest->passthrough_opens > 0 &&
                         (will_be_cached || newest->generation != generation);
  if (node.epoch_ == id.epoch() || of_no_use) node.raise_epoch();
  if (will_be_cached) node.cached_until_ = now() + kSentBackMax;
  metrics_.stale_opens.add();
  return fail(Code::kStale);
}

Result<CachedFileSystem::Decision> CachedFileSystem::decide_mode(const NodePtr& node, KernelId id,
                                                                 bool writing) {
  cache::CachedFile& file = node->file();
  const bool wants_passthrough = !writing && kernel_->passthrough_available() && file.resident();
  Decision decision;
  {
    MutexLock lock(node->mutex_);
    KernelInode& inode = node->kernel_inode(id.epoch());
    if (inode.passthrough_opens > 0) {
      if (!wants_passthrough || inode.generation != file.generation()) {
        return send_back(*node, id, !wants_passthrough, file.generation());
      }
    } else if (inode.cached_opens > 0 || !wants_passthrough || now() < node->cached_until_) {
      if (writing) node->cached_until_ = Nanos(0);  // he has come
      ++inode.cached_opens;
      decision.reply.keep_cache = inode.pages_version == node->content_version_;
      inode.pages_version = node->content_version_;
      return decision;
    }
  }
  // open_hit() decides without Node::opening: look again after each pause.
  const auto pin = file.pin();
  std::optional<int32_t> backing;
  if (pin) {
    MutexLock lock(node->mutex_);
    KernelInode& inode = node->kernel_inode(id.epoch());
    if (inode.passthrough_opens > 0 && inode.generation == pin->generation) {
      backing = inode.backing_id;
    } else if (inode.passthrough_opens == 0 && inode.cached_opens == 0) {
      if (const auto opened = kernel_->open_backing(pin->file->fd()))
        backing = inode.backing_id = *opened;
      else
        log::debug("no passthrough: {}", opened.error().message());
    }
    if (backing) {
      ++inode.passthrough_opens;
      inode.generation = pin->generation;
      decision.passthrough = true;
      decision.generation = pin->generation;
      decision.reply.backing_id = *backing;
      return decision;
    }
  }
  if (pin) file.unpin(pin->generation);
  MutexLock lock(node->mutex_);
  KernelInode& inode = node->kernel_inode(id.epoch());
  if (inode.passthrough_opens > 0) {
    return send_back(*node, id, !wants_passthrough, file.generation());
  }
  ++inode.cached_opens;
  decision.reply.keep_cache = inode.pages_version == node->content_version_;
  inode.pages_version = node->content_version_;
  return decision;
}

Result<OpenReply> CachedFileSystem::finish_open(const NodePtr& node, KernelId id, int flags,
                                                std::shared_ptr<source::SourceFile> source) {
  TRY_ASSIGN(Decision decision, decide_mode(node, id, writes(flags)));
  auto open = std::make_unique<OpenFile>();
  open->node = node;
  open->epoch = id.epoch();
  open->flags = flags;
  open->passthrough = decision.passthrough;
  open->generation = decision.generation;
  open->source = std::move(source);
  {
    MutexLock lock(node->mutex_);
    ++node->handles_;
    constexpr int64_t kUsedGrainNs = 600'000'000'000;  // a record is not rewritten for each open
    const int64_t wall = env_.clock.wall().count();
    if (wall - node->used_at_ns_ > kUsedGrainNs) node->used_at_ns_ = wall;
  }
  env_.residents.touch(node->id());
  (decision.passthrough ? metrics_.opens_passthrough : metrics_.opens_cached).add();
  metrics_.handles.add();
  decision.reply.handle = reinterpret_cast<uint64_t>(open.release());
  return decision.reply;
}

io::Task<Result<CreateReply>> CachedFileSystem::create(KernelId parent_id, std::string name,
                                                       uint32_t mode, int flags, Caller caller) {
  CO_TRY_ASSIGN(const NodePtr parent, node(parent_id));
  CO_TRY_ASSIGN(std::string path, child_path(*parent, name));
  change_directory(*parent);
  source::Outcome<source::Created> creating =
      source_.create_file(std::move(path), flags & (O_ACCMODE | O_EXCL | O_TRUNC), mode, caller);
  Result<source::Created> created = co_await std::move(creating);
  change_directory(*parent);
  if (!created) co_return fail(created.error());
  const NodePtr node = adopt(parent, name, created->attributes, changes().now());
  if (!node) co_return fail(Code::kIo, "no node id");
  CreateReply reply;
  CO_TRY_ASSIGN(reply.node, reply_to_lookup(node));
  io::AsyncMutex::Guard opening = co_await node->opening.lock();
  Result<OpenReply> opened =
      finish_open(node, reply.node.id, flags | O_RDWR, std::move(created->file));
  if (!opened && opened.error().is(Code::kStale)) {
    // The file was there already, and open in passthrough: the reply can name the fresh kernel
    // inode at once.
    forget(reply.node.id, 1);
    CO_TRY_ASSIGN(reply.node, reply_to_lookup(node));
    co_return fail(Code::kStale);
  }
  if (!opened) {
    forget(reply.node.id, 1);
    co_return fail(opened.error());
  }
  reply.open = *opened;
  co_return reply;
}

void CachedFileSystem::close_inode(Node& node, const OpenFile& open) {
  int32_t backing_id = 0;
  {
    MutexLock lock(node.mutex_);
    KernelInode* inode = node.find_kernel_inode(open.epoch);
    CHECK(inode != nullptr);
    uint32_t& opens = open.passthrough ? inode->passthrough_opens : inode->cached_opens;
    CHECK(opens > 0);
    if (--opens == 0 && open.passthrough) backing_id = std::exchange(inode->backing_id, 0);
    node.drop_idle_kernel_inodes();
    CHECK(node.handles_ > 0);
    --node.handles_;
  }
  if (backing_id != 0) kernel_->close_backing(backing_id);
  if (open.passthrough) node.file().unpin(open.generation);
}

io::Task<void> CachedFileSystem::release(uint64_t handle) {
  std::unique_ptr<OpenFile> open(&file_of(handle));
  const NodePtr node = open->node;
  close_inode(*node, *open);
  metrics_.handles.sub();
  io::Task<void> settling = settle(open.get());
  co_await std::move(settling);
  bool last = false;
  {
    MutexLock lock(node->mutex_);
    last = node->handles_ == 0;
  }
  if (last) node->file().idle();
}

}  // namespace larder::fs
