#include "fs/cached_file_system.h"

#include <algorithm>
#include <bit>
#include <cerrno>

#include "base/check.h"
#include "base/log.h"
#include "fs/open_file.h"
#include "source/breaker.h"

namespace larder::fs {
namespace {

// A change within this time before it was seen may be followed by another that leaves the same
// times: one tick of a kernel's clock, or two seconds where times are whole seconds (sshfs, FAT).
constexpr Nanos kTick = std::chrono::milliseconds(20);
constexpr Nanos kWholeSecond = std::chrono::seconds(2);
// A walker (fts(3) in find, du, chmod -R) asks for the file system's type at each directory.
constexpr Nanos kSpaceTtlMax = std::chrono::seconds(1);

cache::OtherVersion meaning_of(FileIs found) {
  switch (found) {
    case FileIs::kSame:
    case FileIs::kChangedInPlace:
      return cache::OtherVersion::kInPlace;
    case FileIs::kMaybeAnother:
      return cache::OtherVersion::kMaybeAnother;
    case FileIs::kAnother:
      break;
  }
  return cache::OtherVersion::kAnother;
}

}  // namespace

bool is_gone(const Error& error) {
  return error.is(Code::kStale) || error.is(Code::kNotFound);
}

bool is_no_file(const Error& error) {
  return error.is(static_cast<Code>(ELOOP)) || error.is(static_cast<Code>(ENXIO)) ||
         error.is(static_cast<Code>(EISDIR));
}

bool is_outage(const Error& error) {
  return error.is(Code::kTimedOut) || error.is(Code::kSourceDown) || error.is(Code::kLimit) ||
         source::fault_of(error.code()) != source::Fault::kNone;
}

FileMetrics::FileMetrics(Registry& r)
    : lookup_hits(r.counter("larder_lookup_hits_total", "Look-ups answered without the source.")),
      lookup_misses(r.counter("larder_lookup_misses_total", "Look-ups that asked the source.")),
      attribute_hits(
          r.counter("larder_attribute_hits_total", "Attributes answered without the source.")),
      attribute_misses(
          r.counter("larder_attribute_misses_total", "Attributes asked of the source.")),
      opens_passthrough(r.counter("larder_opens_total", "Files opened, by how they are read.",
                                  {{"mode", "passthrough"}})),
      opens_direct(r.counter("larder_opens_total", "Files opened, by how they are read.",
                             {{"mode", "direct"}})),
      opens_cached(r.counter("larder_opens_total", "Files opened, by how they are read.",
                             {{"mode", "cached"}})),
      stale_opens(
          r.counter("larder_reopens_total",
                    "Opens sent back to look the name up again, to change an inode's mode.")),
      served_offline(r.counter("larder_served_offline_total",
                               "Answers given from the cache because the source was down.")),
      listings_ahead(r.counter("larder_listings_ahead_total",
                               "Directories listed ahead of a walk over their tree.")),
      parted(r.counter("larder_parted_files_total",
                       "Open files that were changed elsewhere and may have been replaced.")),
      handles(r.gauge("larder_open_handles", "Open files.")) {}

Counter& FileMetrics::opens(OpenMode mode) {
  return mode == OpenMode::kPassthrough ? opens_passthrough
         : mode == OpenMode::kDirect    ? opens_direct
                                        : opens_cached;
}

CachedFileSystem::CachedFileSystem(cache::Environment& environment, source::Source& source,
                                   std::vector<io::Reactor*> reactors,
                                   const CoherenceOptions& coherence, Registry& registry,
                                   size_t directories_max)
    : env_(environment),
      source_(source),
      reactors_(std::move(reactors)),
      coherence_(coherence),
      metrics_(registry),
      recorder_(environment.clock, registry),
      directories_(directories_max, registry),
      watch_(registry) {
  registry.gauge_callback("larder_nodes_in_memory", "Nodes the kernel or a request knows.",
                          [this] { return static_cast<int64_t>(table_.size()); });
}

CachedFileSystem::~CachedFileSystem() = default;

io::Reactor& CachedFileSystem::home(KernelId id) {
  return *reactors_[mix64(id.node()) % reactors_.size()];
}

io::Task<Result<void>> CachedFileSystem::load_root() {
  NodePtr root = load(kRootNode);
  const uint64_t asked_at = changes().tick();
  source::Outcome<Attributes> asking = source_.attributes({source_.root(), {}});
  const Result<Attributes> attributes = co_await std::move(asking);
  if (!attributes && (!root || !is_outage(attributes.error()))) co_return fail(attributes.error());
  if (!root)
    root =
        table_.find_or_make(kRootNode, [this] { return std::make_shared<Node>(*this, kRootNode); });
  {
    MutexLock lock(root->mutex_);
    root->keep_ = root;
    ++root->kernel_inode(0).lookups;
  }
  root_ = root;
  if (attributes) apply(*root, *attributes, asked_at);
  co_return Result<void>();
}

void CachedFileSystem::shut_down() {
  for (const auto& open : open_files_.take_all()) close_inode(*open->node, *open);
  open_directories_.take_all();
  sent_back_.clear();
  directories_.clear();
  std::vector<NodePtr> nodes = table_.all();  // alive until no node refers to another
  for (const NodePtr& node : nodes) {
    {
      WriterLock lock(tree_mutex_);
      node->names_.clear();
    }
    NodePtr kept;
    MutexLock lock(node->mutex_);
    kept = std::move(node->keep_);
  }
  root_.reset();
  std::deque<Ahead> ahead;
  MutexLock lock(ahead_mutex_);
  ahead.swap(ahead_);
}

bool CachedFileSystem::evict(NodeId id, uint64_t wanted_bytes) {
  const NodePtr node = load(id);
  if (node && node->is_regular()) {
    cache::CachedFile& file = node->file();
    if (!file.is_large(wanted_bytes)) return file.evict();
    // A punch waits for the disk, which a reactor does not: the janitor's turn.
    return io::Reactor::current() == nullptr && file.punch(wanted_bytes);
  }
  // Its record is gone, and with it the claim on the object.
  env_.residents.forget(id);
  return true;
}

Result<CachedFileSystem::NodePtr> CachedFileSystem::node(KernelId id) {
  NodePtr node = load(NodeId{id.node()});
  if (!node) return fail(Code::kStale);
  return node;
}

CachedFileSystem::NodePtr CachedFileSystem::load(NodeId id) {
  if (NodePtr node = table_.find(id)) return node;
  return table_.find_or_make(id, [&]() -> NodePtr {
    const auto record = env_.catalog.node(id);
    if (!record || !*record) return nullptr;
    return std::make_shared<Node>(*this, id, **record);
  });
}

// --- paths and names

Result<std::string> CachedFileSystem::path_of(const Node& node) const {
  ReaderLock lock(tree_mutex_);
  std::vector<const std::string*> parts;
  for (const Node* at = &node; at->id() != kRootNode;) {
    if (at->names_.empty()) return fail(Code::kStale);  // unlinked
    parts.push_back(&at->names_.front().name);
    at = at->names_.front().parent.get();
  }
  std::string path;
  for (auto part = parts.rbegin(); part != parts.rend(); ++part) {
    if (!path.empty()) path += '/';
    path += **part;
  }
  return path;
}

std::optional<std::string> CachedFileSystem::path_in_memory(NodeId id) const {
  const NodePtr node = table_.find(id);
  if (!node) return std::nullopt;
  Result<std::string> path = path_of(*node);
  return path ? std::optional(std::move(*path)) : std::nullopt;
}

Name CachedFileSystem::first_name(const Node& node, bool* was_lost) const {
  ReaderLock lock(tree_mutex_);
  if (was_lost != nullptr) *was_lost = static_cast<bool>(node.lost_in_);
  return node.names_.empty() ? Name{} : node.names_.front();
}

void CachedFileSystem::add_name(const NodePtr& node, const NodePtr& parent, std::string_view name) {
  const auto is_this = [&](const Name& known) {
    return known.parent == parent && known.name == name;
  };
  {
    ReaderLock lock(tree_mutex_);
    if (!node->names_.empty() && is_this(node->names_.front())) return;
  }
  std::vector<Name> gone;  // destroyed without the lock
  WriterLock lock(tree_mutex_);
  // The one seen last comes first: others may have been removed outside.
  if (const auto known = std::ranges::find_if(node->names_, is_this); known != node->names_.end()) {
    std::rotate(node->names_.begin(), known, known + 1);
    return;
  }
  // A directory has one name: being seen under another means it was moved outside.
  if (node->is_directory()) gone.swap(node->names_);
  node->names_.insert(node->names_.begin(), {parent, std::string(name)});
  node->lost_in_ = {};
}

void CachedFileSystem::drop_name(const NodePtr& parent, const std::string& name) {
  std::optional<NodeId> child = known_child(*parent, name);
  if (child) {
    if (const NodePtr node = table_.find(*child)) {
      std::vector<Name> gone;  // destroyed without the lock: it may be the parent's last reference
      WriterLock lock(tree_mutex_);
      const auto first = std::ranges::partition(node->names_, [&](const Name& known) {
        return known.parent != parent || known.name != name;
      });
      gone.assign(std::make_move_iterator(first.begin()), std::make_move_iterator(first.end()));
      node->names_.erase(first.begin(), first.end());
      node->lost_in_ = node->names_.empty() ? parent->id() : NodeId{};
    }
    catalog::Batch batch;
    batch.remove(parent->id(), name);
    if (!env_.catalog.apply(batch)) {
      // The catalog still has the name: what is kept here says that it must not be believed.
      env_.metrics.store_errors.add();
      MutexLock lock(parent->mutex_);
      parent->children().by_name[name] = Dentry{};
      return;
    }
  }
  MutexLock lock(parent->mutex_);
  parent->children().by_name.erase(name);
}

bool CachedFileSystem::is_to_be_recorded(const catalog::NodeRecord& record) const {
  return record.object || S_ISDIR(record.attributes.mode) || env_.catalog.has_room();
}

void CachedFileSystem::record_name(catalog::Batch& batch, const Node& parent,
                                   const std::string& name, Node& node) {
  MutexLock lock(node.mutex_);
  const uint32_t type = node.attributes_.mode & S_IFMT;
  if (node.object() || S_ISDIR(type) || env_.catalog.has_room())
    batch.put(parent.id(), name, {node.id(), type});
  else
    node.has_unrecorded_name_ = true;
}

std::optional<NodeId> CachedFileSystem::known_child(Node& parent, std::string_view name) {
  {
    MutexLock lock(parent.mutex_);
    const auto& known = parent.children().by_name;
    if (const auto it = known.find(name); it != known.end())
      return it->second.child ? std::optional(it->second.child) : std::nullopt;
  }
  const auto record = env_.catalog.name(parent.id(), name);
  if (!record || !*record) return std::nullopt;
  return (*record)->node;
}

CachedFileSystem::NodePtr CachedFileSystem::load_child(Node& parent, std::string_view name) {
  const std::optional<NodeId> id = known_child(parent, name);
  return id ? load(*id) : nullptr;
}

void CachedFileSystem::remember_child(Node& parent, const std::string& name, NodeId child,
                                      Nanos ttl, uint64_t asked_at) {
  {
    MutexLock lock(parent.mutex_);
    Children& children = parent.children();
    if (asked_at >= children.changed_at)
      children.by_name[name] = {child, now() + ttl};
    else if (child)  // not to be believed, but it may be known here only whose name it is
      children.by_name.try_emplace(name, Dentry{child, Nanos(0)});
    constexpr size_t kChildrenMax = 65536;  // of one directory
    const size_t count = children.by_name.size();
    if (count < kChildrenMax || !std::has_single_bit(count)) return;
  }
  forget_children(parent);
}

// Keeps what is in memory, whose name the catalog may have no room for.
void CachedFileSystem::forget_children(Node& parent) {
  std::vector<NodeId> children;
  {
    MutexLock lock(parent.mutex_);
    for (const auto& [name, dentry] : parent.children().by_name)
      if (dentry.child) children.push_back(dentry.child);
  }
  std::unordered_set<NodeId> in_memory;
  for (const NodeId child : children)
    if (table_.visit(child, [](Node&) {})) in_memory.insert(child);
  MutexLock lock(parent.mutex_);
  std::erase_if(parent.children().by_name,
                [&](const auto& entry) { return !in_memory.contains(entry.second.child); });
}

void CachedFileSystem::change_directory(Node& parent) {
  {
    MutexLock lock(parent.mutex_);
    Children& children = parent.children();
    children.changed_at = changes().tick();
    children.listing_times = {};
  }
  expire(parent);
}

// --- attributes

bool CachedFileSystem::is_racy(const Attributes& attributes) const {
  const FileTimes& times = attributes.times;
  const Timestamp newest = std::max(times.mtime, times.ctime);
  const Nanos window = newest.nanoseconds == 0 ? kWholeSecond : kTick;
  const Nanos wall = env_.clock.wall();
  // Times far ahead belong to another clock.
  return Timestamp::of(wall - window) < newest && newest < Timestamp::of(wall + window);
}

bool CachedFileSystem::has_no_times(const Attributes& attributes) {
  return attributes.times.mtime == Timestamp{} && attributes.times.ctime == Timestamp{};
}

bool CachedFileSystem::is_doubtful(const Attributes& attributes) const {
  return is_racy(attributes) || has_no_times(attributes);
}

bool CachedFileSystem::is_fresh(Node& node) {
  MutexLock lock(node.mutex_);
  return now() < node.valid_until_;
}

void CachedFileSystem::expire(Node& node) {
  bool remembered = false;
  {
    MutexLock lock(node.mutex_);
    node.attributes_changed_at_ = changes().tick();
    node.valid_until_ = Nanos(0);
    remembered = std::exchange(node.validated_at_ns_, 0) != 0;
  }
  // Nor may the next run believe what a change made here has overtaken.
  if (remembered && !node.persist({})) env_.metrics.store_errors.add();
}

bool CachedFileSystem::apply(Node& node, const Attributes& attributes, uint64_t asked_at) {
  bool regular = false;
  bool other = false;  // than the kernel may have been told
  FileIs found = FileIs::kSame;
  Attributes before;
  bool other_text = false;
  bool is_held_back = false;
  {
    MutexLock lock(node.mutex_);
    if (asked_at < node.attributes_asked_at_)
      return false;  // a later question's answer overtook it
    before = node.attributes_;
    found = compare_locked(node, attributes, true);
    other = node.attributes_.mode != 0 && (node.attributes_.size_bytes != attributes.size_bytes ||
                                           node.attributes_.times.mtime != attributes.times.mtime);
    if (asked_at < node.attributes_changed_at_) {
      // A change overtook the answer, so nobody may keep it; but it has all that was done before
      // the question, and what is known here may not.
      node.attributes_asked_at_ = asked_at;
      const auto nlink = node.attributes_.nlink;
      node.attributes_ = attributes;
      node.attributes_.nlink = nlink;
      node.seen_in_this_run_ = true;
      return false;
    }
    node.attributes_asked_at_ = asked_at;
    node.attributes_ = attributes;
    const uint64_t old_size = node.file_ ? node.file_->size_bytes() : attributes.size_bytes;
    // What the kernel has been told of is not taken back.
    const uint64_t told_size = std::max(old_size, before.size_bytes);
    if (told_size < attributes.size_bytes) is_held_back = hold_back_growth(node, told_size);
    const bool may_change = node.file_ && !node.file_->is_settled_on(source_.validator(attributes));
    if (is_held_back || may_change) node.has_peculiar_inodes_ = true;
    node.seen_in_this_run_ = true;
    if (node.deleted_) node.attributes_.nlink = 0;
    node.compared_at_ = now();
    node.valid_until_ = node.compared_at_ + coherence_.attributes_ttl;
    // Kept to the minute: a record is not to be rewritten for each confirmation.
    constexpr int64_t kMinuteNs = 60'000'000'000;
    const int64_t wall = env_.clock.wall().count();
    if (coherence_.attributes_ttl.count() >= kMinuteNs &&
        wall - node.validated_at_ns_ > coherence_.attributes_ttl.count() / 2)
      node.validated_at_ns_ = wall;
    regular = S_ISREG(attributes.mode);
    other_text = node.link_text_ && node.link_text_->observe(source_.validator(attributes));
    // The attributes do not renew a listing that they say nothing of.
    if (node.children_ && !keeps_times(attributes) && now() >= node.children_->listing_valid_until)
      node.children_->listing_times = {};
  }
  bool dropped = false;
  std::shared_ptr<cache::Incarnation> parted;
  cache::CachedFile* const file = regular ? node.file_if_any() : nullptr;
  const bool is_cut = file != nullptr && is_cut_for_kernel(node, *file, attributes.size_bytes);
  if (is_cut) note_cut(node);
  if (file != nullptr)
    dropped = file->observe(source_.validator(attributes), asked_at, is_doubtful(attributes),
                            meaning_of(found), &parted);
  if (parted) {
    parted->remember(before);
    metrics_.parted.add();
    // Of the name the kernel knows the inode that stays with those who have it open.
    if (const Name name = first_name(node); name.parent)
      kernel_->expire_entry(KernelId{name.parent->id().value}, name.name);
  }
  if (dropped || is_held_back || other_text || (regular && file == nullptr && other))
    invalidate_kernel(node, std::nullopt, is_cut);
  if (!node.persist({})) env_.metrics.store_errors.add();
  if (file != nullptr && file->wants_renewal()) renew_if_wanted(node);
  return dropped;
}

io::Task<Result<Attributes>> CachedFileSystem::ask_attributes(NodePtr node, source::Wait wait,
                                                              bool* by_name) {
  if (by_name != nullptr) *by_name = true;
  while (has_name(*node)) {
    const Name name = first_name(*node);
    io::Task<Result<source::Place>> naming = name_of(node);
    Result<source::Place> place = co_await std::move(naming);
    Result<Attributes> attributes = place ? Result<Attributes>() : fail(place.error());
    if (place) {
      source::Outcome<Attributes> asking = source_.attributes(std::move(*place), wait);
      attributes = co_await std::move(asking);
    }
    const bool found = attributes.has_value();
    if (found ? same_file(*node, *attributes) : !is_gone(attributes.error())) co_return attributes;
    // Moved meanwhile?
    for (const auto& renamed : renames_under_way(nullptr)) co_await *renamed;
    const Name now = first_name(*node);
    if (now.parent != name.parent || now.name != name.name) continue;
    if (forget_name(*node, name)) continue;
    if (!directories_.find(node->id())) co_return attributes;
    // A directory that was moved at the source: it is asked itself.
    doubt(name);
    break;
  }
  if (by_name != nullptr) *by_name = false;
  if (source::DirectoryPtr open = directories_.find(node->id())) {
    source::Outcome<Attributes> asking = source_.attributes({std::move(open), {}}, wait);
    Result<Attributes> attributes = co_await std::move(asking);
    if (attributes || !is_gone(attributes.error())) co_return attributes;
    directories_.remove(node->id());  // leads nowhere any more (FUSE, NFS)
    if (has_name(*node)) co_return attributes;
  }
  // Unlinked, still open: through whatever is open.
  if (const auto open_file = held_source(*node)) {
    source::Outcome<Attributes> asking = open_file->attributes();
    co_return co_await std::move(asking);
  }
  MutexLock lock(node->mutex_);
  // Of its other names, known to the source alone, none has been looked up yet.
  if (!node->deleted_) co_return fail(Code::kStale, "no known name");
  co_return node->attributes_;  // nobody can change it any more but through here
}

std::vector<std::shared_ptr<io::Event>> CachedFileSystem::renames_under_way(const Node* directory) {
  std::vector<std::shared_ptr<io::Event>> over;
  MutexLock lock(renames_mutex_);
  for (const Rename& rename : renames_)
    if (directory == nullptr || rename.parent == directory || rename.new_parent == directory)
      over.push_back(rename.over);
  return over;
}

// A name that leads nowhere any more, while the file has others; false when it has not.
bool CachedFileSystem::forget_name(Node& node, const Name& gone) {
  WriterLock lock(tree_mutex_);
  if (node.names_.size() < 2) return false;
  std::erase_if(node.names_, [&](const Name& known) {  // `gone` keeps the parent
    return known.parent == gone.parent && known.name == gone.name;
  });
  return true;
}

io::Task<Result<void>> CachedFileSystem::refresh(NodePtr node, source::Wait wait, bool* by_name) {
  const uint64_t asked_at = changes().tick();
  io::Task<Result<Attributes>> asking = ask_attributes(node, wait, by_name);
  const Result<Attributes> attributes = co_await std::move(asking);
  // Gone or replaced: the next look-up of the name must ask the source.
  if (!attributes) {
    if (disproved_by(Asked::kUse, attributes.error()).name) doubt(first_name(*node));
    if (attributes.error().is(Code::kNotFound)) expire(*node);
    co_return fail(attributes.error());
  }
  if (!same_file(*node, *attributes)) {
    doubt(first_name(*node));
    expire(*node);
    co_return fail(Code::kStale, "replaced outside");
  }
  apply(*node, *attributes, asked_at);
  co_return Result<void>();
}

io::Task<Result<void>> CachedFileSystem::refresh_open(NodePtr node) {
  io::Task<Result<void>> refreshing = refresh(node);
  Result<void> refreshed = co_await std::move(refreshing);
  if (refreshed || !is_gone(refreshed.error())) co_return refreshed;
  // Removed or replaced outside: the file is asked through what is open.
  const std::shared_ptr<source::SourceFile> held = held_source(*node);
  if (!held) co_return refreshed;
  const uint64_t asked_at = changes().tick();
  source::Outcome<Attributes> asking = held->attributes();
  CO_TRY_ASSIGN(const Attributes attributes, co_await std::move(asking));
  if (!same_file(*node, attributes)) co_return refreshed;
  apply(*node, attributes, asked_at);
  co_return Result<void>();
}

NodeReply CachedFileSystem::describe(Node& node) {
  MutexLock lock(node.mutex_);
  node.leave_stale_epoch();
  return describe_locked(node, node.epoch_);
}

NodeReply CachedFileSystem::describe_locked(Node& node, uint64_t epoch) {
  NodeReply reply;
  reply.id = KernelId::make(node.id().value, epoch);
  reply.attributes = node.attributes_;
  reply.attributes.inode = node.id().value;
  const std::optional<uint64_t> visible = node.visible_bytes(epoch);
  if (visible) reply.attributes.size_bytes = *visible;
  reply.attributes_ttl = reply.entry_ttl = std::max(Nanos(0), node.valid_until_ - now());
  // Two kernel inodes of one node do not hear of each other's changes.
  if (node.kernel_inodes_.size() > 1 || visible) reply.attributes_ttl = Nanos(0);
  return reply;
}

std::optional<Result<AttributesReply>> CachedFileSystem::attributes_hit(KernelId id) {
  std::optional<Result<AttributesReply>> hit;
  table_.visit(NodeId{id.node()}, [&](Node& node) {
    MutexLock lock(node.mutex_);
    const Nanos left = node.valid_until_ - now();
    if (left <= Nanos(0)) return;
    if (node.has_peculiar_inodes_)
      if (const KernelInode* inode = node.find_kernel_inode(id.epoch());
          inode && inode->is_parted())
        return;
    AttributesReply& reply = *hit.emplace(std::in_place, node.attributes_, left);
    reply.attributes.inode = node.id_.value;
    const std::optional<uint64_t> visible = node.visible_bytes(id.epoch());
    if (visible) reply.attributes.size_bytes = *visible;
    if (node.kernel_inodes_.size() > 1 || visible) reply.ttl = Nanos(0);  // as in describe()
  });
  if (hit) metrics_.attribute_hits.add();
  return hit;
}

std::optional<Attributes> CachedFileSystem::last_seen(KernelId id) {
  std::optional<Attributes> seen;
  table_.visit(NodeId{id.node()}, [&](Node& node) {
    MutexLock lock(node.mutex_);
    seen = node.attributes_;
  });
  return seen;
}

io::Task<Result<AttributesReply>> CachedFileSystem::attributes(KernelId id, pid_t asker) {
  CO_TRY_ASSIGN(const NodePtr node, this->node(id));
  metrics_.attribute_misses.add();
  if (auto of = parted(*node, id)) {
    io::Task<Result<AttributesReply>> asking = parted_attributes(node, std::move(of));
    co_return co_await std::move(asking);
  }
  bool is_open = false;
  {
    MutexLock lock(node->mutex_);
    // Of directories and special files it is not known.
    is_open = node->handles_ > 0 || !S_ISREG(node->attributes_.mode);
  }
  io::Task<Result<void>> refreshing = is_open ? refresh_open(node) : refresh(node);
  const Result<void> refreshed = co_await std::move(refreshing);
  if (!refreshed) {
    // Who has it open is told what was last known; and who cannot look a name up again.
    const bool last_known = (is_open && is_gone(refreshed.error())) ||
                            (refreshed.error().is(Code::kStale) && came_again(*node, asker));
    if (!is_outage(refreshed.error()) && !last_known) co_return fail(refreshed.error());
    bool known = false;
    {
      MutexLock lock(node->mutex_);
      known = node->attributes_.mode != 0;
    }
    if (!known) co_return fail(refreshed.error());
    if (!last_known) metrics_.served_offline.add();
  }
  NodeReply reply;
  {
    MutexLock lock(node->mutex_);
    reply = describe_locked(*node, id.epoch());
  }
  AttributesReply answer{reply.attributes, reply.attributes_ttl};
  if (cache::CachedFile* file = node->file_if_any(); file != nullptr && !refreshed)
    answer.attributes.size_bytes = file->size_bytes();
  co_return answer;
}

// Whether the asker was sent back already; the next time it was.
bool CachedFileSystem::came_again(Node& node, pid_t asker) {
  if (sent_back_.is_back(node, asker, now())) return true;
  if (asker != kNoOpener) sent_back_.add_asker(node, asker, now());
  return false;
}

void CachedFileSystem::forget(KernelId id, uint64_t lookups) {
  const NodePtr node = table_.find(NodeId{id.node()});
  if (!node || node->id() == kRootNode) return;
  NodePtr last;  // destroyed after the lock
  MutexLock lock(node->mutex_);
  KernelInode* inode = node->find_kernel_inode(id.epoch());
  if (inode == nullptr) return;
  inode->lookups -= std::min(inode->lookups, lookups);
  node->drop_idle_kernel_inodes();
  const bool held =
      std::ranges::any_of(node->kernel_inodes_, [](const KernelInode& k) { return k.lookups > 0; });
  if (!held) last = std::move(node->keep_);
}

io::Task<Result<struct statvfs>> CachedFileSystem::space() {
  {
    MutexLock lock(space_mutex_);
    if (space_ && now() < space_valid_until_) co_return *space_;
  }
  source::Outcome<struct statvfs> asking = source_.space();
  const Result<struct statvfs> space = co_await std::move(asking);
  MutexLock lock(space_mutex_);
  if (space) {
    space_ = *space;
    space_valid_until_ = now() + std::min(coherence_.attributes_ttl, kSpaceTtlMax);
  } else if (!is_outage(space.error()) || !space_) {
    co_return fail(space.error());
  }
  co_return *space_;
}

}  // namespace larder::fs
