// CachedFileSystem: opening files, and the decision how the kernel reads them.

#include <fcntl.h>

#include <algorithm>

#include "base/check.h"
#include "base/log.h"
#include "fs/open_file.h"

namespace larder::fs {
namespace {

// A file this small is fetched at open: its first read is certain and would cost another round
// trip.
constexpr uint64_t kFetchAtOpenBytes = 256 << 10;

// What the whole file counts for in the cache.
uint64_t disk_bytes_of(uint64_t size_bytes) {
  constexpr uint64_t kUnit = cache::ResidentTable::kUnitBytes;
  return (size_bytes + kUnit - 1) / kUnit * kUnit;
}

}  // namespace

bool CachedFileSystem::Opening::truncates() const {
  return (flags & O_TRUNC) != 0;
}

bool CachedFileSystem::Opening::writes() const {
  return (flags & O_ACCMODE) != O_RDONLY || truncates();
}

OpenWish CachedFileSystem::Opening::wish_of(int flags) {
  if ((flags & O_ACCMODE) == O_RDWR) return OpenWish::kReadWrite;
  return (flags & (O_ACCMODE | O_TRUNC)) == O_RDONLY ? OpenWish::kReadPart : OpenWish::kWrite;
}

std::optional<Result<OpenReply>> CachedFileSystem::open_hit(KernelId id, int flags, pid_t opener) {
  Opening opening{id, flags, opener};
  if (opening.writes() || coherence_.revalidate_at_open || !sent_back_.empty()) return std::nullopt;
  const NodePtr node = table_.find(NodeId{id.node()});
  if (!node) return std::nullopt;
  const cache::CachedFile* const file = fresh_file(*node);
  if (file == nullptr || !file->resident()) return std::nullopt;
  return finish_open(node, opening, nullptr);
}

// The data of a regular file whose attributes are fresh; else null.
cache::CachedFile* CachedFileSystem::fresh_file(Node& node) {
  {
    MutexLock lock(node.mutex_);
    if (now() >= node.valid_until_ || !S_ISREG(node.attributes_.mode)) return nullptr;
    if (node.file_) return node.file_.get();
  }
  return &node.file();
}

io::Task<Result<OpenReply>> CachedFileSystem::open(KernelId id, int flags, pid_t opener) {
  sent_back_.forget_expired(now());
  CO_TRY_ASSIGN(const NodePtr node, this->node(id));
  if (!node->is_regular()) co_return fail(Code::kInvalid);
  Opening opening{id, flags, opener};
  if (auto back = sent_back_.find(*node, opener, now())) {
    opening.returned = true;
    opening.has_looked_up = back->has_looked_up;
    opening.opened = std::move(back->opened);
    sent_back_.remove(opener);
  }
  io::Task<Result<OpenReply>> trying = try_open(node, opening);
  const Result<OpenReply> reply = co_await std::move(trying);
  co_return reply;
}

io::Task<Result<OpenReply>> CachedFileSystem::try_open(NodePtr node, Opening opening) {
  std::shared_ptr<source::SourceFile> source;
  if (opening.writes()) {
    {
      // Found out before the source is bothered.
      MutexLock lock(node->mutex_);
      if (!choose_mode(*node, node->find_kernel_inode(opening.id.epoch()), opening))
        co_return send_back(*node, opening);
    }
    io::Task<Result<std::shared_ptr<source::SourceFile>>> opened = open_for_writing(node, opening);
    CO_TRY_ASSIGN(source, co_await std::move(opened));
    if (opening.truncates()) opening.returned = true;  // it cannot be carried out twice
  } else {
    io::Task<Result<std::shared_ptr<source::SourceFile>>> revalidating =
        revalidate_for_reading(node, opening);
    CO_TRY_ASSIGN(source, co_await std::move(revalidating));
  }
  io::Task<void> catching_up = await_version(node);
  co_await std::move(catching_up);
  if (!opening.writes()) {
    io::Task<void> looking = look_into_size(node);
    co_await std::move(looking);
    io::Task<void> awaiting = await_growth(node);
    co_await std::move(awaiting);
    io::Task<void> showing = await_shown(node, opening.id);
    co_await std::move(showing);
  }
  opening.incarnation = node->file().incarnation();
  io::AsyncMutex::Guard deciding = co_await node->opening().lock();
  if (opening.writes()) co_return finish_open(node, opening, std::move(source));
  Result<OpenReply> reply = finish_open(node, opening, nullptr);
  if (!reply) co_return reply;
  cache::CachedFile& file = node->file();
  // Once there is a handle: the last one before it may have closed what was opened.
  if (source) file.offer_source(std::move(source), opening.incarnation);
  const uint64_t size = file.size_bytes();
  if (size <= kFetchAtOpenBytes && !file.resident() && !file.size_is_made_up())
    file.prefetch(0, size);
  co_return reply;
}

// What an open answers when the name led to the node only until now: the kernel looks the name up
// again, and that look-up asks the source.
Error CachedFileSystem::look_again(Node& node, const Error& error, const Opening& opening) {
  if (!is_gone(error) && !is_no_file(error))
    return disproved(Asked::kUse, error, {first_name(node)});
  doubt(first_name(node));
  expire(node);
  if (opening.returned) return error;  // it has been looked up
  if (opening.opener != kNoOpener) sent_back_.add(node, opening.opener, false, now());
  return Error(Code::kStale, "replaced outside");
}

// Whether the node may become the file its name leads to now, for an opener who has looked the name
// up and cannot do so again.
bool CachedFileSystem::may_follow_name(Node& node) const {
  ReaderLock tree_lock(tree_mutex_);
  MutexLock lock(node.mutex_);
  return node.names_.size() == 1 && node.handles_ == 0;
}

// For who came by no name: the file that has none, or another one's, any more.
Result<std::shared_ptr<source::SourceFile>> CachedFileSystem::what_is_left(Node& node,
                                                                           const Error& error) {
  if (auto held = held_source(node)) return held;
  if (node.file().resident()) return nullptr;
  return fail(error);
}

std::shared_ptr<source::SourceFile> CachedFileSystem::held_source(Node& node) {
  cache::CachedFile* file = node.file_if_any();
  if (file == nullptr) return nullptr;
  if (auto by = file->source_file()) return by;
  return file->incarnation()->any();
}

io::Task<Result<std::shared_ptr<source::SourceFile>>> CachedFileSystem::open_for_writing(
    NodePtr node, Opening how) {
  std::shared_ptr<source::SourceFile> held = how.opened;
  if (!held && !has_name(*node)) held = held_source(*node);
  if (!held && how.is_nameless()) {
    io::Task<Result<void>> refreshing = refresh(node);
    const Result<void> refreshed = co_await std::move(refreshing);
    if (!refreshed) held = held_source(*node);
    if (!refreshed && !held) co_return fail(refreshed.error());
  }
  const bool truncates = how.truncates();
  cache::CachedFile& file = node->file();
  io::AsyncMutex::Guard changing;
  if (truncates) {
    changing = co_await node->changing().lock();
    expire(*node);
    io::Task<void> beginning = file.begin_change(0, UINT64_MAX);
    co_await std::move(beginning);
  }
  const uint64_t asked_at = changes().tick();
  const bool follows = how.has_looked_up && may_follow_name(*node);
  const auto open_with = [&](int flags) -> io::Task<Result<source::Opened>> {
    if (held) return held->reopen(flags);
    return ask_at<source::Opened>(node, [this, flags, follows](source::Place place) {
      if (follows) place.number = 0;
      return source_.open_file(std::move(place), flags);
    });
  };
  io::Task<Result<source::Opened>> asking =
      open_with(how.flags & (O_ACCMODE | O_TRUNC | (appends_by_open() ? O_APPEND : 0)));
  Result<source::Opened> opened = co_await std::move(asking);
  if (!opened && opened.error().is(static_cast<Code>(EPERM)) && (how.flags & O_APPEND) != 0) {
    // Append-only (chattr +a).
    io::Task<Result<source::Opened>> again = open_with(how.flags & (O_ACCMODE | O_APPEND));
    opened = co_await std::move(again);
  }
  if (truncates) {
    if (opened)
      file.end_truncate(0);
    else
      file.end_change(0, UINT64_MAX, std::nullopt);
    expire(*node);
    // The kernel empties the inode itself when it has the answer.
    invalidate_kernel(*node, opened ? std::optional(how.id.epoch()) : std::nullopt);
  }
  const bool is_another =
      opened ? !same_file(*node, opened->attributes) : opened.error().is(Code::kStale);
  const bool is_file = !opened || S_ISREG(opened->attributes.mode);
  if (is_another && (!follows || !is_file)) {
    how.returned = false;
    co_return fail(look_again(*node, Error(Code::kNotFound), how));
  }
  if (!opened) co_return fail(look_again(*node, opened.error(), how));
  apply(*node, opened->attributes, truncates ? changes().tick() : asked_at);
  co_return std::move(opened->file);
}

// Close-to-open: what a reader gets is what the source had when it opened.  The source's file, if
// it had to be opened for that.
io::Task<Result<std::shared_ptr<source::SourceFile>>> CachedFileSystem::revalidate_for_reading(
    NodePtr node, Opening opening) {
  if (opening.opened) {
    const uint64_t asked_at = changes().tick();
    source::Outcome<Attributes> asking = opening.opened->attributes();
    // An error its reads meet, too, where the source is needed for them.
    if (const Result<Attributes> now = co_await std::move(asking)) apply(*node, *now, asked_at);
    drop_doubtful(*node);
    co_return opening.opened;
  }
  cache::CachedFile& file = node->file();
  if (!coherence_.revalidate_at_open && is_fresh(*node)) co_return nullptr;
  if (file.resident() && !file.is_restless()) {
    io::Task<Result<void>> refreshing = refresh(node);
    const Result<void> refreshed = co_await std::move(refreshing);
    if (!refreshed && is_outage(refreshed.error())) {
      metrics_.served_offline.add();
      co_return nullptr;
    }
    if (!refreshed && !is_gone(refreshed.error())) co_return fail(refreshed.error());
    if (!refreshed && !opening.returned)
      co_return fail(look_again(*node, Error(Code::kNotFound), opening));
    if (!refreshed && opening.is_nameless()) co_return what_is_left(*node, refreshed.error());
    if (refreshed && file.resident()) co_return nullptr;
  }
  // It will be read from the source: opening it there answers both questions at once.
  if (!has_name(*node))
    if (auto held = file.source_file()) co_return held;  // unlinked, and held
  const uint64_t asked_at = changes().tick();
  const bool any = opening.has_looked_up;
  io::Task<Result<source::Opened>> asking =
      ask_at<source::Opened>(node, [this, any](source::Place place) {
        if (any) place.number = 0;
        return source_.open_file(std::move(place), O_RDONLY);
      });
  Result<source::Opened> opened = co_await std::move(asking);
  if (!opened) {
    if (is_outage(opened.error())) {
      metrics_.served_offline.add();  // what is there can be read
      co_return nullptr;
    }
    if (opening.is_nameless() && is_gone(opened.error()))
      co_return what_is_left(*node, opened.error());
    co_return fail(look_again(*node, opened.error(), opening));
  }
  if (!same_file(*node, opened->attributes)) {
    if (!opening.returned || !S_ISREG(opened->attributes.mode))
      co_return fail(look_again(*node, Error(Code::kNotFound), opening));
    // The look-up found the node's file: it is read with those who have it open.
    if (!may_follow_name(*node)) co_return file.source_file();
  }
  apply(*node, opened->attributes, asked_at);
  drop_doubtful(*node);
  co_return std::move(opened->file);
}

// What may be older than it looks is not for another opener.
void CachedFileSystem::drop_doubtful(Node& node) {
  {
    MutexLock lock(node.mutex_);
    if (node.handles_ > 0) return;
  }
  if (!node.file().drop_doubtful()) return;
  MutexLock lock(node.mutex_);
  for (KernelInode& inode : node.kernel_inodes_) inode.has_old_pages = true;
}

// The opener is to look the name up again and find another kernel inode.
std::unexpected<Error> CachedFileSystem::send_back(Node& node, const Opening& opening) {
  const bool will_be_cached = opening.wish != OpenWish::kReadWhole;
  // Through another of its names the opener may have come to an older one than there is by now.
  const KernelInode* newest = node.find_kernel_inode(node.epoch_);
  const bool of_no_use = newest != nullptr && newest->passthrough_opens > 0 &&
                         (will_be_cached || newest->generation != node.data_generation());
  if (node.epoch_ == opening.id.epoch() || of_no_use) node.raise_epoch();
  sent_back_.add(node, opening.opener, will_be_cached, now());
  metrics_.stale_opens.add();
  return fail(Code::kStale);
}

// nullopt: another kernel inode than this one is wanted.
std::optional<OpenMode> CachedFileSystem::choose_mode(Node& node, const KernelInode* inode,
                                                      const Opening& opening) {
  InodeUse use = InodeUse::kNobody;
  if (inode != nullptr && inode->cached_opens > 0)
    use = InodeUse::kCached;
  else if (inode != nullptr && inode->passthrough_opens > 0)
    use = inode->generation == node.data_generation() ? InodeUse::kObject : InodeUse::kOldObject;
  // What the object still lacks at its end this reader finds by another inode only.
  if (opening.wish == OpenWish::kReadPart && inode != nullptr && inode->passthrough_opens > 0 &&
      node.visible_bytes(opening.id.epoch()))
    use = InodeUse::kOldObject;
  return choose_open_mode(opening.wish, use, sent_back_.keeps_cached(node, now()),
                          opening.returned);
}

Result<CachedFileSystem::Decision> CachedFileSystem::decide_mode(const NodePtr& node,
                                                                 cache::CachedFile& file,
                                                                 Opening& opening) {
  Decision decision;
  decision.past_cache = size_is_made_up(file);
  std::optional<cache::CachedFile::Pin> pin;
  if (!opening.writes() && !decision.past_cache) {
    opening.wish = OpenWish::kReadPart;
    if (kernel_->passthrough_available() && !is_open_cached(*node, opening.id))
      if (auto pinned = file.pin()) pin = std::move(*pinned);
  }
  const Result<void> decided = decide_pinned(*node, opening, pin, decision);
  const bool is_taken_over = decided && decision.mode == OpenMode::kPassthrough;
  if (pin && !is_taken_over) file.unpin(pin->generation);
  if (!decided) return fail(decided.error());
  return decision;
}

// A decision for passthrough takes over the pin.
Result<void> CachedFileSystem::decide_pinned(Node& node, Opening& opening,
                                             const std::optional<cache::CachedFile::Pin>& pin,
                                             Decision& decision) {
  MutexLock lock(node.mutex_);
  if (pin && pin->generation == node.data_generation()) opening.wish = OpenWish::kReadWhole;
  KernelInode& inode = node.kernel_inode(opening.id.epoch());
  // The kernel empties it, whatever it knew of it.
  if (opening.truncates()) inode.version = node.content_version_;
  decision.stale = node.is_stale(inode);
  if (decision.stale && !opening.returned && node.has_free_epoch()) return send_back(node, opening);
  const std::optional<OpenMode> mode = choose_mode(node, &inode, opening);
  if (!mode) return send_back(node, opening);
  decision.mode = *mode;
  const bool is_first = *mode == OpenMode::kPassthrough && inode.passthrough_opens == 0;
  if (is_first) {
    // Under the lock, as two opens of one inode must get one id; the kernel only takes a reference
    // to the open file, without I/O.
    const auto backing = kernel_->open_backing(pin->file->fd());
    if (!backing) {
      log::debug("no passthrough: {}", backing.error().message());
      decision.mode = OpenMode::kCached;
    } else {
      inode.backing_id = *backing;
      inode.generation = pin->generation;
    }
  }
  if (decision.mode == OpenMode::kCached) {
    decision.reply.keep_cache =
        !decision.stale && !decision.past_cache && !std::exchange(inode.has_old_pages, false);
    decision.reply.direct_io = decision.past_cache;
    ++inode.cached_opens;
    note_handle(node, inode, opening);
    return {};
  }
  if (decision.mode == OpenMode::kDirect) node.file_->pin_again(inode.generation);
  ++inode.passthrough_opens;
  decision.generation = inode.generation;
  decision.reply.backing_id = inode.backing_id;
  decision.reply.direct_io = decision.mode == OpenMode::kDirect;
  note_handle(node, inode, opening);
  return {};
}

void CachedFileSystem::note_handle(Node& node, KernelInode& inode, const Opening& opening) {
  if (node.handles_++ == 0) open_numbers_.add(node.id(), number_locked(node));
  inode.incarnation = opening.incarnation;
  node.note_use(env_.clock.wall());
}

bool CachedFileSystem::is_open_cached(Node& node, KernelId id) {
  MutexLock lock(node.mutex_);
  const KernelInode* inode = node.find_kernel_inode(id.epoch());
  return inode != nullptr && inode->cached_opens > 0;
}

Result<OpenReply> CachedFileSystem::finish_open(const NodePtr& node, Opening& opening,
                                                std::shared_ptr<source::SourceFile> source) {
  cache::CachedFile& file = node->file();
  if (!opening.incarnation) opening.incarnation = file.incarnation();
  TRY_ASSIGN(Decision decision, decide_mode(node, file, opening));
  // The best that can be done for who cannot be sent back: the kernel asks again when it needs to
  // know the size.  So it does of a file that was cut just now, which it may hear of later.
  if (decision.stale || cut_files_.contains(node->id(), now()))
    invalidate_attributes(*node, {opening.id});
  auto open = std::make_unique<OpenFile>(node, file);
  open->epoch = opening.id.epoch();
  open->flags = opening.flags;
  open->mode = decision.mode;
  open->past_cache = decision.past_cache;
  open->generation = decision.generation;
  open->source = std::move(source);
  open->source_appends = open->source && (opening.flags & O_APPEND) != 0 && appends_by_open();
  open->incarnation = opening.incarnation;
  open->incarnation->add(open->source, (open->flags & O_ACCMODE) == O_RDWR);
  env_.residents.touch(node->id());
  if (recorder_.wants(AccessRecorder::What::kOpens)) [[unlikely]]
    recorder_.note_open(node->id(), disk_bytes_of(file.size_bytes()));
  metrics_.opens(decision.mode).add();
  metrics_.handles.add();
  want_reader(node, *open);
  decision.reply.handle = open_files_.add(std::move(open));
  watch(*node);
  return decision.reply;
}

io::Task<Result<CreateReply>> CachedFileSystem::create(KernelId parent_id, std::string name,
                                                       uint32_t mode, int flags, Caller caller) {
  CO_TRY_ASSIGN(const NodePtr parent, node(parent_id));
  io::Task<Result<source::Place>> placing = place_in(parent, name);
  CO_TRY_ASSIGN(source::Place place, co_await std::move(placing));
  change_directory(*parent);
  source::Outcome<source::Opened> creating = source_.create_file(
      std::move(place), flags & (O_ACCMODE | O_EXCL | O_TRUNC | (appends_by_open() ? O_APPEND : 0)),
      mode, caller);
  Result<source::Opened> created = co_await std::move(creating);
  change_directory(*parent);
  if (!created) {
    const Error error = disproved(Asked::kMake, created.error(), {.target = {parent, name}});
    // A symbolic link is there, which only the kernel follows: once it has looked the name up.
    const bool is_link = error.is(static_cast<Code>(ELOOP)) && (flags & O_EXCL) == 0;
    co_return fail(is_link ? Error(Code::kStale, "a symbolic link") : error);
  }
  const NodePtr node = adopt(parent, name, created->attributes, changes().tick());
  if (!node) co_return fail(Code::kIo, "no node id");
  CreateReply reply;
  io::AsyncMutex::Guard deciding = co_await node->opening().lock();
  Result<OpenReply> opened = fail(Code::kStale);
  // The file may have been there already, and open in passthrough: then the reply can name the
  // fresh kernel inode at once.
  for (int attempt = 0; attempt < 2 && opened.error().is(Code::kStale); ++attempt) {
    reply.node = reply_to_lookup(node);
    Opening opening{reply.node.id, flags | O_RDWR, caller.pid};
    opened = finish_open(node, opening, created->file);
    if (opened) break;
    sent_back_.remove(caller.pid);
    forget(reply.node.id, 1);
  }
  if (!opened) co_return fail(opened.error());
  reply.open = *opened;
  co_return reply;
}

bool CachedFileSystem::close_inode(Node& node, const OpenFile& open) {
  int32_t backing_id = 0;
  bool last = false;
  {
    MutexLock lock(node.mutex_);
    KernelInode* inode = node.find_kernel_inode(open.epoch);
    CHECK(inode != nullptr);
    uint32_t& opens = open.in_passthrough() ? inode->passthrough_opens : inode->cached_opens;
    CHECK(opens > 0);
    if (--opens == 0 && open.in_passthrough()) backing_id = std::exchange(inode->backing_id, 0);
    if (inode->cached_opens + inode->passthrough_opens == 0) inode->incarnation.reset();
    node.drop_idle_kernel_inodes();
    CHECK(node.handles_ > 0);
    last = --node.handles_ == 0;
    if (last) node.note_no_handles();
    if (last) open_numbers_.remove(node.id());
  }
  if (backing_id != 0) kernel_->close_backing(backing_id);
  if (open.in_passthrough()) open.file.unpin(open.generation);
  metrics_.handles.sub();
  return last;
}

bool CachedFileSystem::release_hit(uint64_t handle) {
  OpenFile& open = file_of(handle);
  if (open.source) return false;  // written data may have to be looked after
  // Closing an object that was removed meanwhile frees its room on disk, which takes time.
  if (open.in_passthrough() && open.generation != open.file.generation()) return false;
  const std::unique_ptr<OpenFile> closed = open_files_.take(handle);
  if (close_inode(*open.node, open)) open.file.idle();
  return true;
}

io::Task<void> CachedFileSystem::release(uint64_t handle) {
  const std::unique_ptr<OpenFile> open = open_files_.take(handle);
  const NodePtr node = open->node;
  close_inode(*node, *open);
  io::Task<Result<void>> settling = settle(open.get());
  if (const Result<void> settled = co_await std::move(settling); !settled)
    log::debug("a file was closed with an error: {}", settled.error().message());
  bool last = false;
  {
    MutexLock lock(node->mutex_);
    last = node->handles_ == 0;
  }
  if (last) open->file.idle();
}

}  // namespace larder::fs
