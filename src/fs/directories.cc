// CachedFileSystem: listings.  One is stored with the directory's times and used again while these
// are the same, and where they need not be kept no longer than attributes are believed.

#include <algorithm>
#include <utility>

#include "base/log.h"
#include "fs/open_file.h"
#include "io/when_all.h"

namespace larder::fs {
namespace {

constexpr uint64_t kFirstEntryOffset = 2;  // behind "." and ".."
constexpr size_t kWindowMin = 32;          // attributes asked for at a time, ahead of the reader
constexpr size_t kWindowMax = 1024;
constexpr size_t kNamesPerBatch = 1000;
// Ahead of a walk: directories at a time, and attributes of each one's entries.
constexpr size_t kListingsAheadMax = 32;
constexpr size_t kAttributesAheadMax = 256;
constexpr size_t kKeptAheadMax = 64;
// A walker's opening is answered with what was asked so short a time before, for this walk.
constexpr Nanos kAskedAheadTtl = std::chrono::seconds(1);

}  // namespace

io::Task<Result<uint64_t>> CachedFileSystem::open_directory(KernelId id) {
  CO_TRY_ASSIGN(const NodePtr node, this->node(id));
  const bool revalidates = coherence_.revalidate_at_open && !was_asked_ahead(node->id());
  if (revalidates || !is_fresh(*node)) {
    bool by_name = true;
    io::Task<Result<void>> refreshing = refresh(node, source::Wait::kPatiently, &by_name);
    const Result<void> refreshed = co_await std::move(refreshing);
    if (!refreshed && !is_outage(refreshed.error()))
      co_return fail(disproved(Asked::kUse, refreshed.error(), {first_name(*node)}));
    if (refreshed && !by_name && sends_away(*node)) co_return fail(Code::kStale, "moved outside");
    // What its name leads to later cannot be told from it there.
    if (refreshed && coherence_.revalidate_at_open &&
        source_.inode_numbers() == source::InodeNumbers::kUnreliable) {
      io::Task<void> opening = hold_directory(node);
      co_await std::move(opening);
    }
  }
  note_directory_handle(node);
  auto open = std::make_unique<OpenDirectory>();
  open->node = node;
  co_return open_directories_.add(std::move(open));
}

void CachedFileSystem::note_directory_handle(const NodePtr& node) {
  bool is_first_use = false;
  bool is_to_be_kept = coherence_.revalidate_at_open && !find_directory(*node);
  {
    MutexLock lock(node->mutex_);
    is_first_use = node->note_use(env_.clock.wall());
    ++node->children().handles;
    if (is_to_be_kept) is_to_be_kept = !std::exchange(node->children().is_kept_soon, true);
  }
  if (is_first_use && !node->persist({})) env_.metrics.store_errors.add();
  if (is_to_be_kept) home(KernelId{node->id().value}).spawn(keep_directory(node));
}

// Whoever has a directory open works there wherever others move it.  That is found by what larder
// has open at the source; of a stored listing alone it has nothing.
io::Task<void> CachedFileSystem::keep_directory(std::weak_ptr<Node> opened_node) {
  co_await io::Reactor::current()->sleep(kKeepOpenAfter);
  const NodePtr node = opened_node.lock();
  if (!node) co_return;
  {
    MutexLock lock(node->mutex_);
    node->children().is_kept_soon = false;
    if (node->children().handles == 0 || node->deleted_) co_return;
  }
  io::Task<void> opening = node->fs_.hold_directory(node);
  co_await std::move(opening);
}

io::Task<void> CachedFileSystem::hold_directory(NodePtr node) {
  io::Task<Result<source::DirectoryPtr>> opening = directory_at(std::move(node));
  const auto opened = co_await std::move(opening);
  if (!opened) log::debug("an open directory has no descriptor: {}", opened.error().message());
}

// Whether an opener is to look the name up again, which leads elsewhere now.  Who stands in the
// directory comes to it again, at once, and is let in.
bool CachedFileSystem::sends_away(Node& node) {
  constexpr Nanos kComesAgainWithin = std::chrono::seconds(1);
  if (!first_name(node).parent) return false;
  MutexLock lock(node.mutex_);
  const Nanos this_time = now();
  const Nanos before = std::exchange(node.children().sent_away_at, this_time);
  return before == Nanos(0) || this_time - before > kComesAgainWithin;
}

void CachedFileSystem::release_directory(uint64_t handle) {
  const auto closed = open_directories_.take(handle);
  MutexLock lock(closed->node->mutex_);
  --closed->node->children().handles;
}

io::Task<Result<void>> CachedFileSystem::sync_directory(uint64_t handle, bool data_only) {
  const NodePtr node = directory_of(handle).node;
  if (is_removed(*node)) co_return Result<void>();  // nothing is left to sync
  io::Task<Result<source::DirectoryPtr>> opening = directory_at(node);
  CO_TRY_ASSIGN(source::DirectoryPtr directory, co_await std::move(opening));
  source::Outcome<void> syncing = source_.sync_directory(std::move(directory), data_only);
  co_return co_await std::move(syncing);
}

bool CachedFileSystem::is_removed(Node& node) {
  MutexLock lock(node.mutex_);
  return node.deleted_;
}

io::Task<Result<void>> CachedFileSystem::load_listing(OpenDirectory* open) {
  const NodePtr node = open->node;
  open->entries.clear();
  open->is_removed = false;
  open->attributes_to = 0;
  open->window = 0;
  if (!is_fresh(*node)) {
    io::Task<Result<void>> refreshing = refresh(node);
    const Result<void> refreshed = co_await std::move(refreshing);
    if (!refreshed && !is_outage(refreshed.error())) co_return fail(refreshed.error());
  }
  uint32_t stored_parts = 0;
  bool stored_is_current = false;
  Attributes attributes;
  const uint64_t asked_at = changes().tick();
  const Nanos listed_at = now();
  {
    MutexLock lock(node->mutex_);
    attributes = node->attributes_;
    stored_parts = node->children().listing_parts;
    stored_is_current = listing_is_current(*node);
  }
  if (stored_is_current) {
    auto stored = env_.catalog.listing(node->id(), stored_parts);
    if (stored && *stored) {
      open->entries = std::move(**stored);
      co_return Result<void>();
    }
  }
  open->is_removed = is_removed(*node);
  if (open->is_removed) co_return Result<void>();
  io::Task<Result<source::Listing>> listing =
      list_at(node, stored_parts != 0 ? source::Wait::kPatiently : source::Wait::kForAnswer);
  Result<source::Listing> listed = co_await std::move(listing);
  if (!listed) {
    if (!is_outage(listed.error()) || stored_parts == 0)
      co_return fail(disproved(Asked::kUse, listed.error(), {first_name(*node)}));
    auto stored = env_.catalog.listing(node->id(), stored_parts);
    if (!stored || !*stored) co_return fail(listed.error());
    metrics_.served_offline.add();
    open->entries = std::move(**stored);
    co_return Result<void>();
  }
  open->is_removed = listed->is_removed;
  if (open->is_removed) co_return Result<void>();
  open->entries = number_entries(node, std::move(listed->entries), asked_at);
  store_listing(node, open->entries, attributes, asked_at, listed_at);
  co_return Result<void>();
}

io::Task<Result<source::Listing>> CachedFileSystem::list_at(NodePtr node, source::Wait wait) {
  for (bool again = true;; again = false) {
    io::Task<Result<source::DirectoryPtr>> opening = directory_at(node);
    CO_TRY_ASSIGN(source::DirectoryPtr directory, co_await std::move(opening));
    source::Outcome<source::Listing> listing = source_.list(std::move(directory), wait);
    Result<source::Listing> listed = co_await std::move(listing);
    if (listed || !again || !is_gone(listed.error())) co_return listed;
    directories_.remove(node->id());  // its descriptor leads nowhere any more (FUSE, NFS)
  }
}

// Whether an equal time of the directory means that its entries are the same.
bool CachedFileSystem::keeps_times(const Attributes& directory) const {
  if (has_no_times(directory)) return false;
  // Without a number where others have one it is of another file system, mounted there.
  const bool is_numbered = source_.inode_numbers() != source::InodeNumbers::kUnreliable;
  const bool is_elsewhere = is_numbered && directory.inode == 0;
  return source_.directory_times_are_kept() && !is_elsewhere;
}

bool CachedFileSystem::listing_is_current(const Node& node) const {
  if (!node.children_) return false;
  const Children& children = *node.children_;
  const FileTimes& times = node.attributes_.times;
  if (children.listing_parts == 0 || children.listing_times.mtime != times.mtime ||
      children.listing_times.ctime != times.ctime)
    return false;
  if (keeps_times(node.attributes_)) return true;
  // From an earlier run, with the attributes that are believed from there: see apply().
  const bool is_remembered = children.listing_valid_until == Nanos(0) &&
                             node.valid_until_ > now() && times.mtime != Timestamp{};
  return is_remembered || now() < children.listing_valid_until;
}

void CachedFileSystem::forget_listing(Node& directory) {
  MutexLock lock(directory.mutex_);
  Children& children = directory.children();
  children.listing_times = {};
  children.listing_valid_until = Nanos(0);
}

// The node that the name led to when it was last seen; none: the name or the file is new.
NodeId CachedFileSystem::known_entry(const NodePtr& directory, const source::DirectoryEntry& entry,
                                     uint64_t asked_at) {
  const auto known = env_.catalog.name(directory->id(), entry.name);
  if (!known || !*known || ((*known)->type != entry.type && entry.type != 0)) return {};
  const NodeId id = (*known)->node;
  bool is_replaced = false;
  Attributes found;
  found.inode = entry.inode;
  table_.visit(id, [&](Node& node) {
    MutexLock lock(node.mutex_);
    is_replaced = compare_locked(node, found, false) == FileIs::kAnother;
  });
  if (!is_replaced) return id;
  {
    MutexLock lock(directory->mutex_);
    if (asked_at < directory->children().changed_at) return id;  // replaced here, as it may be
  }
  drop_name(directory, entry.name);
  return {};
}

// Gives each name its node id, known or new.
std::vector<catalog::ListingEntry> CachedFileSystem::number_entries(
    const NodePtr& directory, std::vector<source::DirectoryEntry> entries, uint64_t asked_at) {
  std::vector<catalog::ListingEntry> numbered;
  numbered.reserve(entries.size());
  std::unordered_map<uint64_t, NodeId> by_inode;  // a file may have several names here
  catalog::Batch batch;
  size_t in_batch = 0;
  for (source::DirectoryEntry& entry : entries) {
    const bool may_be_several = entry.type == S_IFREG && entry.inode != 0;
    NodeId id = known_entry(directory, entry, asked_at);
    const bool is_new = !id;
    if (is_new && may_be_several) id = node_of_inode(entry.inode, by_inode);
    if (!id)
      if (const auto fresh = env_.catalog.allocate_node()) id = *fresh;
    if (may_be_several) by_inode.emplace(entry.inode, id);
    if (is_new && id && (env_.catalog.has_room() || entry.type == S_IFDIR)) {
      batch.put(directory->id(), entry.name, {id, entry.type});
      if (++in_batch == kNamesPerBatch) {
        if (!env_.catalog.apply(batch)) env_.metrics.store_errors.add();
        batch = {};
        in_batch = 0;
      }
    }
    numbered.push_back({std::move(entry.name), id, entry.type});
  }
  if (!env_.catalog.apply(batch)) env_.metrics.store_errors.add();
  return numbered;
}

// That of another name of the file, in the same listing or looked up before.
NodeId CachedFileSystem::node_of_inode(uint64_t inode,
                                       const std::unordered_map<uint64_t, NodeId>& listed) {
  if (const auto other = listed.find(inode); other != listed.end()) return other->second;
  if (!source_.inodes_are_stable()) return {};
  const auto known = env_.catalog.by_inode(inode);
  const NodePtr node = known && *known ? load(**known) : nullptr;
  if (!node) return {};
  MutexLock lock(node->mutex_);
  const bool is_it = !node->deleted_ && node->attributes_.inode == inode &&
                     S_ISREG(node->attributes_.mode) && node->attributes_.nlink > 1;
  return is_it ? node->id() : NodeId{};
}

void CachedFileSystem::store_listing(const NodePtr& directory,
                                     const std::vector<catalog::ListingEntry>& entries,
                                     const Attributes& attributes, uint64_t asked_at,
                                     Nanos listed_at) {
  if (is_racy(attributes)) return;  // one more name could come without the times moving
  uint32_t old_parts = 0;
  {
    MutexLock lock(directory->mutex_);
    Children& children = directory->children();
    if (asked_at < children.changed_at) return;
    // Until all parts are there no listing is claimed.
    old_parts = std::exchange(children.listing_parts, 0);
    children.listing_times = {};
  }
  bool good = true;
  catalog::Batch none;
  if (old_parts != 0) good = directory->persist(std::move(none)).has_value();
  catalog::Batch batch;
  const uint32_t parts = env_.catalog.has_room() ? batch.put_listing(directory->id(), entries) : 0;
  // Parts are applied one by one: together they may be larger than one append.
  for (catalog::Batch& part : batch.split()) good = good && env_.catalog.apply(part).has_value();
  for (uint32_t part = parts; part < old_parts; ++part) {
    catalog::Batch surplus;
    surplus.remove_listing_part(directory->id(), part);
    good = good && env_.catalog.apply(surplus).has_value();
  }
  if (!good) {
    env_.metrics.store_errors.add();
    return;
  }
  if (parts == 0) return;  // no room: the source is asked each time
  {
    MutexLock lock(directory->mutex_);
    Children& children = directory->children();
    if (asked_at < children.changed_at) return;
    children.listing_parts = parts;
    children.listing_times = attributes.times;
    children.listing_times.atime = {};
    children.listing_valid_until = listed_at + coherence_.attributes_ttl;
  }
  if (!directory->persist({})) env_.metrics.store_errors.add();
}

io::Task<void> CachedFileSystem::fetch_attributes(OpenDirectory* open, size_t first, size_t count) {
  std::vector<io::Task<Result<NodePtr>>> tasks;
  for (size_t i = first; i < first + count; ++i)
    tasks.push_back(resolve(open->node, open->entries[i].name));
  io::Task<std::vector<Result<NodePtr>>> all = io::when_all(std::move(tasks));
  const std::vector<Result<NodePtr>> nodes = co_await std::move(all);
  open->resolved.resize(open->entries.size());
  for (size_t i = 0; i < nodes.size(); ++i)
    if (nodes[i]) open->resolved[first + i] = *nodes[i];
}

void CachedFileSystem::follow_walk(OpenDirectory& open) {
  std::vector<NodeId> subdirectories;
  for (const catalog::ListingEntry& entry : open.entries)
    if (entry.type == S_IFDIR) subdirectories.push_back(entry.node);
  auto children = take_ahead(open.node->id());
  const bool was_ahead = children.has_value();
  if (was_ahead) open.listed_ahead = std::move(*children);
  {
    MutexLock lock(open.node->mutex_);
    open.node->children().walk = TreeWalk(std::move(subdirectories), was_ahead);
  }
  const Name up = first_name(*open.node);
  if (!up.parent) return;
  std::vector<NodeId> next;
  {
    MutexLock lock(up.parent->mutex_);
    next = up.parent->children().walk.on_read(open.node->id());
  }
  for (const NodeId id : next) {
    const NodePtr directory = table_.find(id);
    if (!directory || !directory->is_directory()) continue;
    if (listings_ahead_.fetch_add(1) >= kListingsAheadMax) {
      listings_ahead_.fetch_sub(1);
      return;
    }
    home(KernelId{id.value}).spawn(list_ahead(directory));
  }
}

io::Task<void> CachedFileSystem::list_ahead(NodePtr directory) {
  {
    OpenDirectory open;
    open.node = directory;
    io::AsyncMutex::Guard listing = co_await directory->listing().lock();
    // In the place of the walker's own opening of it.
    const Nanos asked_at = now();
    io::Task<Result<void>> refreshing = refresh(directory);
    Result<void> loaded = co_await std::move(refreshing);
    if (loaded) {
      io::Task<Result<void>> loading = load_listing(&open);
      loaded = co_await std::move(loading);
    }
    if (loaded) {  // or else the walker will hear of it
      metrics_.listings_ahead.add();
      io::Task<void> fetching =
          fetch_attributes(&open, 0, std::min(open.entries.size(), kAttributesAheadMax));
      co_await std::move(fetching);
      keep_ahead({directory->id(), asked_at, std::move(open.resolved)});
    }
  }
  listings_ahead_.fetch_sub(1);
}

void CachedFileSystem::keep_ahead(Ahead listed) {
  Ahead oldest;  // destroyed without the lock
  MutexLock lock(ahead_mutex_);
  if (ahead_.size() >= kKeptAheadMax) {
    oldest = std::move(ahead_.front());
    ahead_.pop_front();
  }
  ahead_.push_back(std::move(listed));
}

bool CachedFileSystem::was_asked_ahead(NodeId directory) {
  MutexLock lock(ahead_mutex_);
  const auto at = std::ranges::find(ahead_, directory, &Ahead::directory);
  return at != ahead_.end() && now() - at->asked_at < kAskedAheadTtl;
}

std::optional<std::vector<CachedFileSystem::NodePtr>> CachedFileSystem::take_ahead(
    NodeId directory) {
  MutexLock lock(ahead_mutex_);
  const auto at = std::ranges::find(ahead_, directory, &Ahead::directory);
  if (at == ahead_.end()) return std::nullopt;
  auto children = std::move(at->children);
  ahead_.erase(at);
  return children;
}

io::Task<Result<std::vector<DirectoryEntryReply>>> CachedFileSystem::read_directory(
    uint64_t handle, uint64_t offset, size_t budget_bytes, bool with_attributes) {
  OpenDirectory& open = directory_of(handle);
  io::AsyncMutex::Guard reading = co_await open.reading.lock();
  if (offset == 0 || !open.loaded) {
    open.resolved.clear();
    // Whoever lists it ahead is waited for.
    io::AsyncMutex::Guard listing = co_await open.node->listing().lock();
    io::Task<Result<void>> loading = load_listing(&open);
    CO_TRY(co_await std::move(loading));
    open.loaded = true;
    if (with_attributes) follow_walk(open);
  }
  if (open.is_removed) co_return fail(Code::kNotFound);
  std::vector<DirectoryEntryReply> batch;
  const Name up = first_name(*open.node);
  const auto dot = [&](const char* name, NodeId id) {
    DirectoryEntryReply entry;
    entry.name = name;
    entry.inode = id.value;
    entry.type = S_IFDIR;
    entry.next_offset = ++offset;
    batch.push_back(std::move(entry));
  };
  if (offset == 0) dot(".", open.node->id());
  if (offset == 1) dot("..", up.parent ? up.parent->id() : open.node->id());

  const size_t first = static_cast<size_t>(offset - kFirstEntryOffset);
  size_t count = 0;
  // An entry costs its name and the kernel's fixed part (fuse_direntplus, about 150 bytes).
  const size_t fixed_bytes = with_attributes ? 152 : 24;
  for (size_t used = 0; first + count < open.entries.size() && used < budget_bytes; ++count)
    used += open.entries[first + count].name.size() + fixed_bytes;
  if (with_attributes && first + count > open.attributes_to) {
    // Ahead of the reader in growing steps, as far as there is a reader.
    open.window = std::clamp(open.window * 4, std::max(count, kWindowMin), kWindowMax);
    const size_t from = std::max(open.attributes_to, first);
    const size_t wanted = std::min(std::max(open.window, count), open.entries.size() - from);
    io::Task<void> fetching = fetch_attributes(&open, from, wanted);
    co_await std::move(fetching);
    open.attributes_to = from + wanted;
  }
  // Kept until the reader has gone past: what does not fit its buffer is asked for again.
  for (size_t i = std::min(first, open.resolved.size()); i > 0 && open.resolved[i - 1]; --i)
    open.resolved[i - 1].reset();
  for (size_t i = first; i < first + count; ++i) {
    const catalog::ListingEntry& listed = open.entries[i];
    DirectoryEntryReply entry;
    entry.name = listed.name;
    // What was learned of the name since it was listed counts.
    entry.inode = known_child(*open.node, listed.name).value_or(listed.node).value;
    entry.type = listed.type;
    entry.next_offset = kFirstEntryOffset + i + 1;
    if (with_attributes && i < open.resolved.size() && open.resolved[i]) {
      const NodePtr node = open.resolved[i];
      entry.node = describe(*node);
      entry.inode = node->id().value;
      entry.type = node->type();
      entry.pin = node;
    }
    batch.push_back(std::move(entry));
  }
  co_return batch;
}

io::Task<Result<std::vector<std::string>>> CachedFileSystem::child_names(uint64_t handle) {
  OpenDirectory& open = directory_of(handle);
  io::Task<Result<void>> loading = load_listing(&open);
  CO_TRY(co_await std::move(loading));
  std::vector<std::string> names;
  for (const catalog::ListingEntry& entry : open.entries) names.push_back(entry.name);
  co_return names;
}

void CachedFileSystem::count_lookup(const DirectoryEntryReply& entry) {
  const NodePtr node = table_.find(NodeId{entry.node.id.node()});
  if (!node) return;  // cannot be: entry.pin holds it
  MutexLock lock(node->mutex_);
  ++node->kernel_inode(entry.node.id.epoch()).lookups;
  node->keep_ = node;
}

}  // namespace larder::fs
